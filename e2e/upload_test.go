package e2e

import (
	"strings"
	"testing"

	"github.com/playwright-community/playwright-go"
)

const refusal = "[data-drop-error]"

// archive chooses a file by the button for archives.
func (p *tab) archive(name string, content []byte) {
	p.t.Helper()
	must(p.t, p.Locator("[data-input=archive]").SetInputFiles(playwright.InputFile{Name: name, MimeType: "application/octet-stream", Buffer: content}))
}

// refused waits for the sentence about an upload that did not work, and for a zone
// that takes the next one.
func (p *tab) refused(words ...string) {
	p.t.Helper()
	must(p.t, expect.Locator(p.Locator(refusal)).ToBeVisible())
	for _, text := range words {
		p.sees(refusal, text)
	}
	must(p.t, expect.Locator(p.Locator("[data-drop-ask]")).ToBeVisible())
	if strings.Contains(p.URL(), "bundles") {
		p.t.Error("there is a plan for an upload that was refused")
	}
}

func TestUploadsThatCannotWorkAreRefusedWithASentence(t *testing.T) {
	t.Parallel()
	s := ownServer(t, "--max-upload", "1MiB")
	_, page := member(t, s)

	page.archive("holiday.rar", []byte("Rar!"))
	page.refused("holiday.rar is not an archive that is unpacked here", ".zip or a .tar.gz")

	page.expecting("status of 422", "status of 400", "status of 413")
	page.archive("notes.zip", []byte(strings.Repeat("these are only words ", 100)))
	page.refused("archive")
	if strings.Contains(page.text(refusal), "notes") && strings.Contains(page.text(refusal), "goroutine") {
		t.Error("the sentence is not one for people")
	}

	page.archive("big.zip", make([]byte, 2<<20))
	page.refused("big.zip is 2.0 MB", "1.0 MB")

	page.drop(folder(t, "heavy", map[string]string{
		"package.json": `{"name": "heavy"}`, "video.mp4": strings.Repeat("x", 3<<20), "small.txt": "y",
	}))
	page.refused("an upload may have 1.0 MB", "video.mp4", "3.0 MB")

	// The server itself does not believe the page.
	status := page.js(`async () => {
		const answer = await fetch("/upload?name=big&filename=big.tar", { method: "POST", body: new Blob([new Uint8Array(2 << 20)]) });
		return answer.status + " " + (await answer.json()).error;
	}`)
	if text, _ := status.(string); !strings.HasPrefix(text, "413 ") || !strings.Contains(text, "1.0 MB") && !strings.Contains(text, "1 MiB") {
		t.Errorf("the server answers %v", status)
	}

	page.open("/projects")
	page.sees("h2", "Drop your project here") // none of these made a project
}

func TestATreeThatNobodyKnowsSaysWhatWasLookedFor(t *testing.T) {
	t.Parallel()
	u, page := member(t, sharedServer(t))
	page.drop(folder(t, "poems", map[string]string{"autumn.txt": "leaves", "drafts/winter.txt": "snow", "<b id=pwned>.txt": "x"}))
	page.plan()
	page.sees("h1", "How should this run?")
	page.sees("#looked", "What was looked for")
	page.sees(".note", "package.json")
	page.sees(".note .names", "<b id=pwned>.txt")
	found := page.text(".note .names")
	if !strings.Contains(found, "autumn.txt") || !strings.Contains(found, "drafts/") {
		t.Errorf("what was found: %s", found)
	}
	if page.count("#pwned") > 0 {
		t.Error("a file name became part of the page")
	}
	// An answer is asked for, field by field.
	must(t, expect.Locator(page.Locator("#port")).ToHaveValue("8080"))
	page.expecting("status of 422")
	page.press("Deploy")
	page.sees("#error-appliance", "Choose what the app runs on")
	_, err := page.Locator("#appliance").SelectOption(playwright.SelectOptionValues{Values: playwright.StringSlice("nodejs-18")})
	must(t, err)
	page.press("Deploy")
	page.sees("#error-start", "start command")
	must(t, page.Locator("#start").Fill("node -e \"require('http').createServer((q, s) => s.end('poems')).listen(process.env.PORT)\""))
	page.deploy()
	page.ends("SUCCEEDED")
	u.says(page.address(), "poems")
}
