package web_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/web"
)

func (a answer) json() map[string]string {
	a.t.Helper()
	var members map[string]string
	if err := json.Unmarshal([]byte(a.body), &members); err != nil {
		a.t.Fatalf("%s: %v in %q", a.what, err, a.body)
	}
	return members
}

func TestUploadMakesAProjectAndGoesToItsPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	query := url.Values{"name": {"Guest book"}, "filename": {"guest book"}, "omitted": {"node_modules/", ".cache/"}}
	a := w.ada.do(http.MethodPost, "/upload?"+query.Encode(), bytes.NewReader(nodeApp(t)), "Sec-Fetch-Site", "same-origin").want(http.StatusCreated)
	plan := a.json()["location"]
	if !strings.HasPrefix(plan, "/projects/") || a.header.Get("Location") != plan {
		t.Fatalf("location %q, header %q", plan, a.header.Get("Location"))
	}
	page := w.ada.get(plan).want(http.StatusOK).wantText(".names", "node_modules/").wantText(".names", ".cache/")
	if name, _ := page.page().Find("input[name=name]").Attr("value"); name != "Guest book" {
		t.Errorf("the plan offers the name %q", name)
	}
	project := strings.Split(plan, "/")[2]
	again := w.ada.do(http.MethodPost, "/upload?project="+project+"&filename=v2.tar", bytes.NewReader(nodeApp(t))).want(http.StatusCreated).json()["location"]
	if !strings.HasPrefix(again, "/projects/"+project+"/bundles/") || again == plan {
		t.Errorf("the second upload went to %q, want another bundle of the project", again)
	}
}

func TestRefusedUploadIsASentence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.ada.do(http.MethodPost, "/upload?name=x&filename=notes.txt", strings.NewReader("hello")).want(http.StatusUnprocessableEntity)
	if sentence := a.json()["error"]; !strings.Contains(sentence, "notes.txt") {
		t.Errorf("the sentence is %q", sentence)
	}
	// More than the limit, and more than a server reads by itself of a body that nobody wants.
	large := append(archive(t, "big.bin", strings.Repeat("x", 1<<20)), make([]byte, 900<<10)...)
	a = w.ada.do(http.MethodPost, "/upload?name=x&filename=big.tar", bytes.NewReader(large)).want(http.StatusRequestEntityTooLarge)
	if a.json()["error"] == "" {
		t.Error("no sentence")
	}
	a = w.visitor().do(http.MethodPost, "/upload?name=x", bytes.NewReader(large)).want(http.StatusUnauthorized)
	if sentence := a.json()["error"]; !strings.Contains(sentence, "log in") {
		t.Errorf("a visitor is told %q", sentence)
	}
	w.ada.get("/projects").want(http.StatusOK).wantText("h2", "Drop your project here")
}

// A browser sends all it has before it looks at the answer; a connection that is
// closed meanwhile is a lost connection to it, whatever the answer says.
func TestRefusedUploadIsHeardOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *web.Services) { s.UploadLimit = 64 << 20 })
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const size = 32 << 20 // more than the buffers on the way hold
	if _, err := fmt.Fprintf(conn, "POST /upload?name=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", size); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(make([]byte, size)); err != nil {
		t.Fatalf("the server hung up on the upload: %v", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d, want 401", response.StatusCode)
	}
}

func TestUploadFromAPlainForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	send := func(file []byte) answer {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		if err := form.WriteField("name", "From a form"); err != nil {
			t.Fatal(err)
		}
		if file != nil {
			part, err := form.CreateFormFile("file", "code.tar")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := part.Write(file); err != nil {
				t.Fatal(err)
			}
		}
		if err := form.Close(); err != nil {
			t.Fatal(err)
		}
		return w.ada.do(http.MethodPost, "/upload", &body, "Content-Type", form.FormDataContentType(), "Accept", "text/html", "Sec-Fetch-Site", "same-origin")
	}
	a := send(nodeApp(t)).want(http.StatusSeeOther)
	w.ada.get(a.header.Get("Location")).want(http.StatusOK).wantText(".side-name", "code.tar")
	send(nil).want(http.StatusUnprocessableEntity).wantText("main", "no file in it")
}
