package analyzer

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const static = "static"

// siteFolders are where sites that are built already are kept, the first that has an index.html wins.
var siteFolders = []string{".", "public", "dist", "build", "out", "_site", "site", "www", "htdocs", "html"}

// lookStatic recognises files that can be served as they are: an index.html, here
// or in a folder with a usual name.
func lookStatic(t *tree, root string, top listing) (*project, error) {
	a := app{tree: t, root: root, top: top}
	dir, why := a.siteFolder()
	if dir == "" {
		return nil, nil
	}
	index := path.Join(dir, "index.html")
	p := coderunner.Plan{Type: static, Root: root, TypeWhy: index,
		Runtime:   coderunner.Runtime{Name: static, Appliance: static, Why: index},
		Install:   coderunner.Choice{Why: "nothing to install"},
		StaticDir: coderunner.Choice{Value: dir, Why: why},
		Port:      defaultPort, PortWhy: "the default",
	}
	p.Start = coderunner.Choice{Why: "the folder is served"}
	if evidence := a.singlePage(dir); evidence != "" {
		p.Framework = coderunner.Choice{Value: "single-page app", Why: evidence}
		p.StaticFallback = coderunner.Choice{Value: "index.html", Why: "unknown paths are answered by it: " + evidence}
	}
	p.Processes = a.processes()
	if len(p.Processes) > 0 {
		a.warn("The Procfile is not used: the upload holds files to serve and no program. Add the program's package.json, requirements.txt or go.mod.")
		p.Processes = nil
	}
	a.finish(&p)
	return &project{plan: p, evidence: index, rank: page}, nil
}

// siteFolder is where the site's files are, and the evidence; "" if there is no site.
func (a *app) siteFolder() (dir, why string) {
	number := 0
	for line := range strings.Lines(string(a.head("Staticfile", 4<<10))) {
		number++
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "root:"); ok {
			value = path.Clean(strings.Trim(strings.TrimSpace(value), `"'`))
			if a.hasFile(path.Join(value, "index.html")) {
				return value, place("Staticfile", number)
			}
		}
	}
	for _, dir := range siteFolders {
		if file := path.Join(dir, "index.html"); a.hasFile(file) {
			return dir, file
		}
	}
	return "", ""
}

var (
	rewriteToIndex = regexp.MustCompile(`(?m)^\s*/\*\s+/index\.html\s+200\s*$`)
	pushState      = regexp.MustCompile(`(?m)^\s*pushstate:\s*(enabled|true)`)
	emptyMount     = regexp.MustCompile(`(?i)<(?:div|main|body)[^>]{0,200}\bid=["']?(root|app|__next|__nuxt|svelte)["']?[^>]{0,200}>\s*</(?:div|main|body)>`)
	scriptTag      = []byte("<script")
)

// singlePage is the evidence that a script of the site's index.html draws every
// page, so that it has to answer unknown paths; "" for a site of several pages.
func (a *app) singlePage(dir string) string {
	rules := path.Join(dir, "_redirects")
	if data := a.head(rules, 64<<10); data != nil {
		if at := rewriteToIndex.FindIndex(data); at != nil {
			return place(rules, 1+bytes.Count(bytes.TrimRight(data[:at[0]], " \t"), []byte("\n")))
		}
	}
	if data := a.head("Staticfile", 4<<10); data != nil {
		if at := pushState.FindIndex(data); at != nil {
			return place("Staticfile", 1+bytes.Count(data[:at[0]], []byte("\n")))
		}
	}
	l, err := a.tree.list(path.Join(a.root, dir))
	if err != nil || slices.ContainsFunc(l.files, func(name string) bool {
		return strings.HasSuffix(name, ".html") && name != "index.html" && name != "404.html"
	}) {
		return ""
	}
	index := path.Join(dir, "index.html")
	data := a.head(index, maxSourceFile)
	if m := emptyMount.FindSubmatchIndex(data); m != nil && bytes.Contains(data, scriptTag) {
		return fmt.Sprintf("the empty element %q in %s", data[m[2]:m[3]], place(index, 1+bytes.Count(data[:m[0]], []byte("\n"))))
	}
	return ""
}
