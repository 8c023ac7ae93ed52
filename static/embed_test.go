package static_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/static"
)

// get asks the handler for path.
func get(t *testing.T, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer := httptest.NewRecorder()
	static.New().ServeHTTP(answer, request)
	return answer
}

func TestEveryFileIsServedForEver(t *testing.T) {
	files := static.New()
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	served := 0
	for _, pattern := range []string{"app.css", "icon.svg", "js/*.js", "vendor/*.js"} {
		names, err := fs.Glob(os.DirFS("."), pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("no file matches %s (%v)", pattern, err)
		}
		for _, name := range names {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			answer := get(t, http.MethodGet, files.Path(name))
			if answer.Code != http.StatusOK || answer.Body.String() != string(want) {
				t.Errorf("%s: status %d, %d of %d bytes", name, answer.Code, answer.Body.Len(), len(want))
			}
			if got := answer.Header().Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
				t.Errorf("%s: Cache-Control %q", name, got)
			}
			if got := answer.Header().Get("Content-Type"); got != kinds[path.Ext(name)] {
				t.Errorf("%s: Content-Type %q", name, got)
			}
			if got := answer.Header().Get("X-Content-Type-Options"); got != "nosniff" {
				t.Errorf("%s: X-Content-Type-Options %q", name, got)
			}
			served++
		}
	}
	if served < 10 {
		t.Errorf("only %d files are served", served)
	}
}

func TestPathIsTheSameForTheSameFiles(t *testing.T) {
	first, second := static.New().Path("js/log.js"), static.New().Path("js/log.js")
	if first != second {
		t.Errorf("two addresses for one file: %s and %s", first, second)
	}
	if !regexp.MustCompile(`^/static/[0-9a-f]{12}/js/log\.js$`).MatchString(first) {
		t.Errorf("address %s", first)
	}
}

func TestAnAddressOfAnotherVersionIsNotKept(t *testing.T) {
	answer := get(t, http.MethodGet, "/static/000000000000/app.css")
	if answer.Code != http.StatusOK || answer.Header().Get("Cache-Control") != "no-cache" {
		t.Errorf("status %d, Cache-Control %q", answer.Code, answer.Header().Get("Cache-Control"))
	}
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	address := static.New().Path("app.css")
	etag := get(t, http.MethodGet, address).Header().Get("ETag")
	if etag == "" {
		t.Fatal("no ETag")
	}
	answer := get(t, http.MethodGet, address, "If-None-Match", etag)
	if answer.Code != http.StatusNotModified || answer.Body.Len() != 0 {
		t.Errorf("status %d, %d bytes", answer.Code, answer.Body.Len())
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	prefix := strings.TrimSuffix(static.New().Path("app.css"), "app.css")
	for _, address := range []string{
		static.Prefix, prefix, prefix + "none.js", prefix + "js", prefix + "js/", prefix + "embed.go", prefix + "src/app.css",
		prefix + "../embed.go", "/static/app.css", prefix + "app.css/",
	} {
		if answer := get(t, http.MethodGet, address); answer.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", address, answer.Code)
		}
	}
}

func TestFilesAreOnlyRead(t *testing.T) {
	address := static.New().Path("app.css")
	if answer := get(t, http.MethodHead, address); answer.Code != http.StatusOK || answer.Body.Len() != 0 || answer.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD: status %d, %d bytes, length %q", answer.Code, answer.Body.Len(), answer.Header().Get("Content-Length"))
	}
	answer := get(t, http.MethodPost, address)
	if answer.Code != http.StatusMethodNotAllowed || answer.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: status %d, Allow %q", answer.Code, answer.Header().Get("Allow"))
	}
}

// The pages' policy is script-src 'self': what a script imports has to be one of the
// embedded files, and scripts set no inline style attribute.
func TestScriptsStandOnTheirOwn(t *testing.T) {
	names, err := fs.Glob(os.DirFS("."), "js/*.js")
	if err != nil {
		t.Fatal(err)
	}
	imported := regexp.MustCompile(`(?m)^import .* from "([^"]+)";$`)
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range imported.FindAllStringSubmatch(string(source), -1) {
			if _, err := os.Stat(path.Join("js", match[1])); err != nil || !strings.HasPrefix(match[1], "./") {
				t.Errorf("%s imports %s, which is not there", name, match[1])
			}
		}
		for _, word := range []string{"eval(", "new Function", `setAttribute("style"`, "http://", "https://"} {
			if strings.Contains(string(source), word) {
				t.Errorf("%s has %s", name, word)
			}
		}
	}
}

// The pages name their scripts and icons by hand.
func TestThePagesNameFilesThatExist(t *testing.T) {
	pages, err := fs.Glob(os.DirFS("../views"), "*.templ")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no page (%v)", err)
	}
	named := regexp.MustCompile(`"((?:js|vendor)/[a-z.-]+\.js|app\.css|icon\.svg)"`)
	files, seen := static.New(), 0
	for _, page := range pages {
		source, err := os.ReadFile(path.Join("../views", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(source), -1) {
			seen++
			if answer := get(t, http.MethodGet, files.Path(match[1])); answer.Code != http.StatusOK {
				t.Errorf("%s names %s, which is not served", page, match[1])
			}
		}
	}
	if seen < 8 {
		t.Errorf("only %d names were found in the pages", seen)
	}
}
