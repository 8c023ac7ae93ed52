package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/playwright-community/playwright-go"
)

// focused answers the name of the element that has the focus, and whether one sees it.
func (p *tab) focused() (name string, visible bool) {
	p.t.Helper()
	found, _ := p.js(`() => {
		const element = document.activeElement;
		if (!element || element === document.body) return ["", false];
		const style = getComputedStyle(element);
		// A card as a whole shows that its link has the focus.
		const outline = [element, element.closest("li")].some((candidate) => {
			const { outlineStyle, outlineWidth } = candidate ? getComputedStyle(candidate) : { outlineStyle: "none" };
			return outlineStyle !== "none" && parseFloat(outlineWidth) > 0;
		});
		const ring = style.boxShadow !== "none" && !/^(rgba\(0, 0, 0, 0\) 0px 0px 0px 0px(, )?)+$/.test(style.boxShadow);
		const name = element.getAttribute("aria-label") ?? element.innerText ?? "";
		return [name.trim() || element.name || element.id, outline || ring];
	}`).([]any)
	if len(found) != 2 {
		p.t.Fatal("the page cannot tell what has the focus")
	}
	name, _ = found[0].(string)
	visible, _ = found[1].(bool)
	return name, visible
}

// tabTo presses Tab until something of that name has the focus, and answers all names
// on the way.
func (p *tab) tabTo(name string) (way []string) {
	p.t.Helper()
	for range 200 {
		must(p.t, p.Keyboard().Press("Tab"))
		at, visible := p.focused()
		if at != "" && !visible {
			p.t.Errorf("%q has the focus, and one does not see it", at)
		}
		way = append(way, at)
		if strings.HasPrefix(at, name) {
			return way
		}
	}
	p.t.Fatalf("Tab does not reach %q: %q", name, way)
	return nil
}

func TestEverythingIsReachedByKeyboard(t *testing.T) {
	t.Parallel()
	_, page := member(t, sharedServer(t))
	// Asked for long before the key is pressed: the driver tells Chromium in its own time.
	choosers := make(chan playwright.FileChooser, 1)
	page.OnFileChooser(func(chooser playwright.FileChooser) { choosers <- chooser })
	page.open("/projects")
	way := page.tabTo("Choose folder")
	if way[0] != "Skip to the content" {
		t.Errorf("the first stop is %q", way[0])
	}
	page.tabTo("Choose archive")
	must(t, page.Keyboard().Press("Shift+Tab"))
	must(t, page.Keyboard().Press("Enter"))
	select {
	case chooser := <-choosers:
		must(t, chooser.SetFiles(hello(t, "by-hand", "typed")))
	case <-time.After(patience * time.Millisecond):
		t.Fatal("Enter on the button opens no chooser")
	}
	page.plan()
	page.tabTo("name")
	way = page.tabTo("Deploy")
	for _, field := range []string{"Node.js 24", "root", "install", "build", "start", "port", "health_path", "Add variable"} {
		if !strings.Contains(strings.Join(way, "\n")+"\n", field+"\n") {
			t.Errorf("Tab does not pass %q: %q", field, way)
		}
	}
	must(t, page.Keyboard().Press("Enter"))
	page.at("/runs/[^/]+$")
	page.ends("SUCCEEDED")
	way = page.tabTo("Search the log")
	if !strings.Contains(strings.Join(way, "\n"), "Copy URL") {
		t.Errorf("Tab does not pass the outcome: %q", way)
	}
	page.tabTo("Log lines")

	page.open("/projects")
	page.tabTo("by-hand")
	must(t, page.Keyboard().Press("Enter"))
	page.at("/projects/[^/]+$")
	page.tabTo("Settings")
	must(t, page.Keyboard().Press("Enter"))
	page.at("/settings$")
	page.tabTo("Destroy project…")
	must(t, page.Keyboard().Press("Enter"))
	page.at("/destroy$")
	if at, _ := page.focused(); at != "name" {
		t.Errorf("the field for the name does not have the focus, %q has", at)
	}
	must(t, page.Keyboard().Type("by-hand"))
	must(t, page.Keyboard().Press("Enter"))
	page.at("/runs/[^/]+$")
	page.ends("SUCCEEDED")

	// The skip link leads past the rail.
	page.open("/projects")
	must(t, page.Keyboard().Press("Tab"))
	must(t, page.Keyboard().Press("Enter"))
	if at := page.js(`() => document.activeElement.id`); at != "main" {
		t.Errorf("the skip link leads to %v", at)
	}
}

func TestAnAccountIsMadeAndLeftByKeyboard(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	page := visitor(t, s).tab()
	page.open("/")
	page.tabTo("Create account")
	must(t, page.Keyboard().Press("Enter"))
	page.at("/signup$")
	if at, _ := page.focused(); at != "email" {
		t.Errorf("the field for the address does not have the focus, %q has", at)
	}
	must(t, page.Keyboard().Type("keys@example.com"))
	page.tabTo("password")
	must(t, page.Keyboard().Type(password))
	must(t, page.Keyboard().Press("Enter"))
	page.at("/projects$")
	page.tabTo("Account")
	must(t, page.Keyboard().Press("Enter"))
	page.at("/account$")
	page.tabTo("Log out")
	must(t, page.Keyboard().Press("Enter"))
	page.at("//[^/]+/$")
}
