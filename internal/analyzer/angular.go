package analyzer

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// angularWorkspace is what a plan needs of an angular.json.
type angularWorkspace struct {
	Projects map[string]struct {
		ProjectType string
		Root        string
		Architect   map[string]angularTarget
		Targets     map[string]angularTarget
	}
}

type angularTarget struct {
	Builder string
	Options struct {
		OutputPath any // a text, or an object with base and browser
		SSR        any
	}
}

// angularProduction finds where the first application of angular.json is built to.
func angularProduction(a *nodeApp) production {
	for _, name := range a.pkg.scripts.names {
		if text, f, ok := a.pkg.script(name); ok && strings.HasPrefix(name, "serve:ssr") {
			return production{build: "ng build", start: text, why: scriptWhy(name, f)}
		}
	}
	data, err := a.read("angular.json")
	var w angularWorkspace
	if err != nil || data == nil || json.Unmarshal(data, &w) != nil {
		return production{}
	}
	for _, name := range slices.Sorted(maps.Keys(w.Projects)) {
		project := w.Projects[name]
		target, ok := project.Architect["build"]
		if !ok {
			target, ok = project.Targets["build"]
		}
		if !ok || project.ProjectType == "library" {
			continue
		}
		dir := "dist/" + name
		browser := "/browser"
		switch path := target.Options.OutputPath.(type) {
		case string:
			dir = path
		case map[string]any:
			if base, ok := path["base"].(string); ok {
				dir = base
			}
			if own, ok := path["browser"].(string); ok {
				browser = strings.TrimSuffix("/"+own, "/")
			}
		}
		if !strings.HasSuffix(target.Builder, ":application") {
			browser = ""
		}
		return production{build: "ng build", dir: inTree(dir+browser, "dist"), single: true,
			why: "the build of " + printable(name) + " in " + place("angular.json", lineOf(data, `"outputPath"`))}
	}
	return production{}
}
