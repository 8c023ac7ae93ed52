package e2e

import (
	"os"
	"strings"
	"testing"
)

// pasteInto puts text into the field as a paste does.
const pasteInto = `([selector, text]) => {
	const field = document.querySelector(selector);
	const data = new DataTransfer();
	data.setData("text", text);
	field.focus();
	field.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
}`

func TestVariablesAreEdited(t *testing.T) {
	t.Parallel()
	must(t, os.MkdirAll(screenshots, 0o755))
	_, page := member(t, sharedServer(t))
	page.drop(folder(t, "reads", map[string]string{
		"package.json": `{"name":"reads","scripts":{"start":"node index.js"}}`, "index.js": "require('http').createServer((q, a) => a.end(process.env.GREETING + process.env.STRIPE_KEY)).listen(process.env.PORT)",
	}))
	page.plan()
	path, _, _ := strings.Cut(page.URL(), "/bundles/")
	page.open(path)
	page.follow("Variables")
	page.at("/variables$")
	page.sees(".vars-missing", "2 variables")
	page.sees(".vars", "read in index.js:1")
	page.js(pasteInto, []any{".var-row:last-child .var-key", "# app\nexport GREETING='hello $you'\nKEY=\"two\nlines\"\nSTRIPE_KEY=canary-stripe\n"})
	page.sees(".toast", "3 variables filled in")
	if keys := page.js(`() => [...document.querySelectorAll(".var-key")].map((field) => field.value).join()`); keys != "GREETING,STRIPE_KEY,KEY," {
		t.Errorf("the rows are %v", keys)
	}
	page.js(`() => { document.querySelector("[name='secret.0']").checked = false; }`)
	page.submit("Save variables")
	page.sees(".flash", "Saved.")
	page.sees(".var-sealed", "set")
	if text := page.js(`() => document.documentElement.outerHTML`).(string); strings.Contains(text, "canary-stripe") || !strings.Contains(text, "hello $you") {
		t.Error("the page shows a secret, or hides what is none")
	}
	page.expecting("status of 4")
	page.press("Add variable")
	page.js(`() => { const last = document.querySelector(".var-row:last-child"); last.querySelector(".var-key").value = "1 <b>bad"; last.querySelector("textarea").value = "typed"; }`)
	page.js(`() => document.querySelector("[name='remove.0']").click()`)
	page.js(`() => document.querySelector("[name='replace.1']").click()`)
	page.submit("Save variables")
	page.sees(".field-error", "is not a variable name")
	page.looked("project-variables")
	if typed := page.js(`() => [...document.querySelectorAll("[aria-invalid]")].map((field) => field.value).join()`); typed != "1 <b>bad" {
		t.Errorf("what was typed is %v", typed)
	}
	if visible := page.js(`() => getComputedStyle(document.querySelector("[name='value.1']")).display + getComputedStyle(document.querySelector("[name='value.2']")).display`); visible == "nonenone" {
		t.Errorf("the field for a new secret is %v", visible)
	}
	// By keyboard: every control of a row is reached, and one sees where one is.
	must(t, page.SetViewportSize(1280, 800))
	page.js(`() => document.querySelector(".var-key").focus()`)
	page.tabTo("Value")
	page.tabTo("Given to")
	must(t, page.Keyboard().Press("Tab"))
	must(t, page.Keyboard().Press("Space"))
	page.js(`() => { if (!document.activeElement.name.startsWith("remove.")) throw new Error(document.activeElement.outerHTML); }`)
}
