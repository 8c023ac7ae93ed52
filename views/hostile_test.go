package views_test

import (
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/coderunner/coderunner/views"
)

// harmless stands for a stranger's text where its place in a page is looked up.
const harmless = "Zz9strangerZz9"

// hostile texts try to leave the place where they are shown.
var hostile = map[string]string{
	"script":        `<script>alert(1)</script>`,
	"image":         `"><img src=x onerror=alert(1)>`,
	"double quotes": `" hx-get="/x" hx-trigger="load" hx-on:click="x" a="`,
	"single quotes": `' hx-post='/x' onclick='x' style='x`,
	"end tags":      `</title></textarea></style></svg><svg onload=x>`,
	"no quotes":     ` hx-on::load=alert(1) autofocus onfocus=x x=`,
	"entities":      `&lt;b&gt;&quot;&#39;&#x3c;i&#x3e;&amp;`,
	"comment":       `--><b><!-- ]]><b><![CDATA[ <?php <%= x %>`,
	"templates":     "{{7*7}} ${x} `x` \\x3cb\\x3e </template><b>",
	"htmx event":    `<hx-partial hx-target=body><b>`,
}

// carriers are the attributes that may carry a stranger's text: none of them is
// run, and addresses are looked at below.
var carriers = map[string]bool{
	"value": true, "title": true, "href": true, "data-step": true, "data-goto": true, "data-confirm": true, "data-copy": true,
	"action": true, "hx-get": true,
}

// addresses carry it encoded.
var addresses = map[string]bool{"href": true, "action": true, "hx-get": true}

// Every page is rendered with a harmless text and with a hostile one in all places.
// Both must be the same elements with the same attributes.
func TestStrangersTextIsOnlyText(t *testing.T) {
	t.Parallel()
	for _, flag := range []bool{false, true} {
		calm := filling{text: harmless, flag: flag, many: 2}.pages()
		for kind, text := range hostile {
			for name, component := range (filling{text: text, flag: flag, many: 2}).pages() {
				t.Run(name+"/"+kind, func(t *testing.T) {
					t.Parallel()
					compare(t, parse(t, render(t, calm[name])), parse(t, render(t, component)), text)
				})
			}
		}
	}
}

func compare(t *testing.T, calm, wild []*html.Node, text string) {
	t.Helper()
	if len(calm) != len(wild) {
		t.Errorf("the page has %d nodes instead of %d", len(wild), len(calm))
	}
	shown := 0
	for i := range min(len(calm), len(wild)) {
		a, b := calm[i], wild[i]
		if a.Type != b.Type || a.Type != html.TextNode && a.Data != b.Data || len(a.Attr) != len(b.Attr) {
			t.Fatalf("node %d is <%s %v> instead of <%s %v>", i, b.Data, b.Attr, a.Data, a.Attr)
		}
		if a.Type == html.TextNode {
			if want := strings.ReplaceAll(a.Data, harmless, text); b.Data != want {
				t.Errorf("%q is shown instead of %q", b.Data, want)
			}
			shown += strings.Count(a.Data, harmless)
		}
		for n := range a.Attr {
			key, value := a.Attr[n].Key, a.Attr[n].Val
			if b.Attr[n].Key != key {
				t.Fatalf("<%s> has the attribute %s instead of %s", b.Data, b.Attr[n].Key, key)
			}
			if !strings.Contains(value, harmless) {
				if b.Attr[n].Val != value {
					t.Errorf("%s of <%s> is %q instead of %q", key, b.Data, b.Attr[n].Val, value)
				}
				continue
			}
			if !carriers[key] {
				t.Errorf("%s of <%s> carries a stranger's text: %q", key, b.Data, value)
			}
			if want := strings.ReplaceAll(value, harmless, text); !addresses[key] && b.Attr[n].Val != want {
				t.Errorf("%s of <%s> is %q instead of %q", key, b.Data, b.Attr[n].Val, want)
			}
			if key == "hx-get" && (!strings.HasPrefix(b.Attr[n].Val, "/projects?") || strings.ContainsAny(b.Attr[n].Val, "\"'<>` {}")) {
				t.Errorf("%s of <%s> is %q", key, b.Data, b.Attr[n].Val)
			}
			shown++
		}
	}
	if shown == 0 {
		t.Error("no stranger's text is shown; the comparison is void")
	}
}

// A policy of script-src 'self'; style-src 'self' breaks nothing on any page.
func TestNoInlineScriptOrStyle(t *testing.T) {
	t.Parallel()
	for _, f := range []filling{{text: harmless, flag: true, many: 3}, {text: harmless, many: 1}, {}} {
		for name, component := range f.pages() {
			for _, n := range parse(t, render(t, component)) {
				switch {
				case n.Type != html.ElementNode:
					continue
				case n.Data == "style":
					t.Errorf("%s has a style sheet of its own", name)
				case n.Data == "script" && (attribute(n, "src") == "" || textOf(n) != ""):
					t.Errorf("%s has a script of its own: %q", name, textOf(n))
				}
				for _, a := range n.Attr {
					if a.Key == "style" || strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "hx-on") || a.Key == "hx-vals" || a.Key == "hx-vars" {
						t.Errorf("%s: <%s> has %s=%q", name, n.Data, a.Key, a.Val)
					}
					if a.Key == "hx-trigger" && strings.Contains(a.Val, "[") {
						t.Errorf("%s: <%s> has a filter to run: %q", name, n.Data, a.Val)
					}
				}
			}
		}
	}
}

func TestAddressThatIsAScriptIsNotLinked(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,<script>", "vbscript:x"} {
		projects := full[views.ProjectsPage](filling{text: harmless, many: 1})
		projects.Projects[0].URL = address
		project := full[views.ProjectPage](filling{text: harmless, many: 1})
		project.URL = address
		run := full[views.RunPage](filling{text: harmless, many: 1})
		run.URL, run.Run.Playbook, run.Run.State = address, "deploy", "SUCCEEDED"
		for name, page := range map[string]string{
			"projects": render(t, views.Projects(projects)), "project": render(t, views.Project(project)), "run": render(t, views.Run(run)),
		} {
			for _, n := range parse(t, page) {
				scheme, _, found := strings.Cut(strings.ToLower(strings.NewReplacer("\n", "", " ", "").Replace(attribute(n, "href"))), ":")
				if found && scheme != "http" && scheme != "https" && !strings.HasPrefix(attribute(n, "href"), "about:invalid") {
					t.Errorf("the page %s links %q", name, attribute(n, "href"))
				}
			}
		}
	}
}

// What a hidden, ticked or typed field had is what it has when the form comes back.
func TestPlanKeepsValuesAsTyped(t *testing.T) {
	t.Parallel()
	values := []string{"plain", " blanks ", `"quoted" <b> & 'so'`, "-----BEGIN-----\nabc\n-----END-----\n", "\nfirst line empty\n\n", "</textarea><b>\n"}
	page := full[views.PlanPage](filling{})
	for _, value := range values {
		page.Form.Env = append(page.Form.Env, views.EnvRow{Key: "KEY", Value: value})
	}
	var got []string
	for _, n := range parse(t, render(t, views.Plan(page))) {
		switch {
		case attribute(n, "name") != "env_value":
		case n.Data == "textarea":
			got = append(got, textOf(n))
		default:
			got = append(got, attribute(n, "value"))
		}
	}
	for i, value := range values {
		if i >= len(got) || got[i] != value {
			t.Errorf("value %d: %q became %q", i, value, got[min(i, len(got)-1)])
		}
	}
}
