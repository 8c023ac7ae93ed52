package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/playwright-community/playwright-go"
)

// devtools speaks to Chromium about this page.
func (p *tab) devtools() playwright.CDPSession {
	p.t.Helper()
	session, err := p.user.context.NewCDPSession(p.Page)
	must(p.t, err)
	return session
}

// drag brings files and folders of this machine over the page, as the desktop does,
// and lets them go there.
func (p *tab) drag(paths ...string) {
	p.t.Helper()
	pointer := p.devtools()
	for _, kind := range []string{"dragEnter", "dragOver", "drop"} {
		if kind == "drop" {
			must(p.t, expect.Locator(p.Locator("[data-drop-veil]")).ToBeVisible())
		}
		_, err := pointer.Send("Input.dispatchDragEvent", map[string]any{"type": kind, "x": 190, "y": 600,
			"data": map[string]any{"items": []any{}, "files": paths, "dragOperationsMask": 1}})
		must(p.t, err)
	}
	must(p.t, expect.Locator(p.Locator("[data-drop-veil]")).ToBeHidden())
	must(p.t, pointer.Detach())
}

// plans waits for the plan of an upload and checks whose it is.
func (p *tab) plans(name, start string) {
	p.t.Helper()
	p.plan()
	for field, want := range map[string]string{"name": name, "start": start} {
		if got, err := p.Locator("#" + field).InputValue(); err != nil || got != want {
			p.t.Errorf("%s of the plan is %q, want %q", field, got, want)
		}
	}
}

// uploading limits how many bytes a second the page may send; 0 is without a limit.
func uploading(t *testing.T, page playwright.CDPSession, bytes int) {
	t.Helper()
	if bytes == 0 {
		bytes = -1
	}
	_, err := page.Send("Network.emulateNetworkConditions", map[string]any{"offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes})
	must(t, err)
}

func TestAFolderIsDroppedOnThePage(t *testing.T) {
	t.Parallel()
	_, page := member(t, sharedServer(t))
	page.drag(folder(t, "dropped-app", map[string]string{
		"package.json":             `{"name": "dropped-app", "scripts": {"start": "node server/index.js"}}`,
		"server/index.js":          "require('http').createServer((q, s) => s.end('hello')).listen(process.env.PORT)",
		"node_modules/left-pad.js": "",
		".env":                     "SECRET=hunter2",
	}))
	page.plans("dropped-app", "node server/index.js")
	page.sees(".plan-side .names", "node_modules/")
	page.sees(".plan-side", ".env")
	page.sees(".plan-side", "2 files")
}

// TestASecondDropWorksLikeTheFirst: after one that was refused, on the page that has
// stayed; after one that led to a plan, on the page that one comes back to; on a
// plan; and as a new version of a project.
func TestASecondDropWorksLikeTheFirst(t *testing.T) {
	t.Parallel()
	_, page := member(t, sharedServer(t))
	first := folder(t, "first", map[string]string{
		"package.json": `{"name": "first", "scripts": {"start": "node one.js"}}`, "one.js": "", "node_modules/only-in-first/index.js": "",
	})
	second := folder(t, "second", map[string]string{
		"package.json": `{"name": "second", "scripts": {"start": "node deep/two.js"}}`, "deep/two.js": "", "deep/er/three.js": "",
	})

	page.js(`() => { globalThis.stayed = true }`)
	page.drag(folder(t, "nothing", map[string]string{"node_modules/x.js": ""}))
	page.refused("There is nothing to upload in nothing.")
	if stayed := page.js(`() => globalThis.stayed`); stayed != true {
		t.Error("the page did not stay, so that the next drop is its first")
	}
	page.drag(first)
	page.plans("first", "node one.js")
	page.sees(".plan-side", "2 files")
	page.sees(".plan-side", "node_modules/")

	_, err := page.GoBack()
	must(t, err)
	page.at("/projects$")
	must(t, expect.Locator(page.Locator(refusal)).ToBeHidden())
	page.drag(second)
	page.plans("second", "node deep/two.js")
	page.sees(".plan-side", "3 files")
	if page.count(".plan-side .names") > 0 {
		t.Errorf("the second plan leaves out what was in the first folder: %s", page.text(".plan-side"))
	}

	// The plan's own page takes another upload for its project, and so does the project's.
	project, _, _ := strings.Cut(page.URL(), "/bundles/")
	page.drag(hello(t, "meant", "this one"))
	page.sees(".side-name", "meant")
	page.plans("second", "node index.js")
	page.at("^" + regexp.QuoteMeta(project) + "/bundles/")
	page.open(project)
	page.drag(first)
	page.sees(".side-name", "first")
	page.plans("second", "node one.js")
	page.at("^" + regexp.QuoteMeta(project) + "/bundles/")
}

// TestAnArchiveIsDroppedOnThePage drags the two kinds that people have.
func TestAnArchiveIsDroppedOnThePage(t *testing.T) {
	t.Parallel()
	_, page := member(t, sharedServer(t))
	for file, pack := range map[string]func(*testing.T, string) []byte{"zipped-main.zip": zipOf, "tarred.tar.gz": tarOf} {
		page.open("/projects")
		archive := filepath.Join(t.TempDir(), file)
		must(t, os.WriteFile(archive, pack(t, hello(t, "inside", file)), 0o644))
		page.drag(archive)
		page.plans(file[:6], "node index.js")
		page.sees(".plan-side", file)
		page.sees(".plan-side", "2 files")
	}
}

// TestAnArchiveIsChosen uploads a zip as people get it from a forge.
func TestAnArchiveIsChosen(t *testing.T) {
	t.Parallel()
	_, page := member(t, sharedServer(t))
	page.archive("hello-main.zip", zipOf(t, "../examples/node-hello"))
	page.plan()
	if name, _ := page.Locator("#name").InputValue(); name != "hello" {
		t.Errorf("the project is called %q", name)
	}
}

// TestAnUploadShowsHowFarItIs over a line that is slow until all was seen.
func TestAnUploadShowsHowFarItIs(t *testing.T) {
	t.Parallel()
	_, page := member(t, sharedServer(t))
	line := page.devtools()
	uploading(t, line, 200<<10)
	random := make([]byte, 4<<20)
	_, _ = rand.Read(random) // never fails
	page.drag(folder(t, "heavy", map[string]string{"package.json": `{"name": "heavy"}`, "noise.bin": string(random)}))

	const value = `document.querySelector("[data-drop-bar]").value`
	bar := page.GetByRole("progressbar", playwright.PageGetByRoleOptions{Name: "Upload"})
	must(t, expect.Locator(bar).ToBeVisible())
	page.until(value + ` > 0 && (globalThis.before = ` + value + `) < 0.5`)
	page.sees("[data-drop-status]", "Uploading heavy (2 files)")
	page.sees("[data-drop-progress]", "of 4.0 MB")
	page.until(value + ` > globalThis.before && ` + value + ` < 1`)
	looks := page.text("[data-drop-progress]")
	page.until(value + ` > globalThis.before && ` + value + ` < 1 && document.querySelector("[data-drop-progress]").innerText.replace(/\s+/g, " ").trim() !== ` + strconv.Quote(looks))
	must(t, os.MkdirAll(screenshots, 0o755))
	page.looked("upload-going")

	// Another one has to wait, and the first one can be called off.
	other := hello(t, "other", "another one")
	must(t, page.Locator("[data-input=folder]").SetInputFiles(other))
	page.sees("#toasts", "An upload is on its way.")
	page.press("Cancel")
	page.sees("#toasts", "Upload cancelled.")
	must(t, expect.Locator(page.Locator("[data-drop-ask]")).ToBeVisible())
	must(t, expect.Locator(bar).ToBeHidden())
	uploading(t, line, 0)
	page.drag(other)
	page.plans("other", "node index.js")
	page.open("/projects")
	must(t, expect.Locator(page.Locator("#projects > li")).ToHaveCount(1)) // of the one that was called off nothing is left
}

// tarOf packs a folder as tar -czf does.
func tarOf(t *testing.T, folder string) []byte {
	t.Helper()
	var archive bytes.Buffer
	squeezed := gzip.NewWriter(&archive)
	out := tar.NewWriter(squeezed)
	must(t, out.AddFS(os.DirFS(folder)))
	must(t, out.Close())
	must(t, squeezed.Close())
	return archive.Bytes()
}
