package views

import (
	"net/url"
	"strconv"
	"strings"
)

// The addresses that pages link to. Identifiers are UUIDs and sample names are
// plain words, so that nothing needs escaping.

func projectPath(id string) string             { return "/projects/" + id }
func tabPath(id string, tab ProjectTab) string { return "/projects/" + id + "/" + string(tab) }
func destroyPath(id string) string             { return "/projects/" + id + "/destroy" }
func runPath(id string) string                 { return "/runs/" + id }
func cancelPath(id string) string              { return "/runs/" + id + "/cancel" }
func downloadPath(id string) string            { return "/runs/" + id + "/log.txt" }
func planPath(project, bundle string) string   { return "/projects/" + project + "/bundles/" + bundle }
func deployPath(project, bundle string) string { return planPath(project, bundle) + "/deploy" }
func samplePath(name string) string            { return "/samples/" + name }
func revokePath(session string) string         { return "/account/sessions/" + session + "/revoke" }

func eventsPath(run string, after int64) string {
	return "/runs/" + run + "/events?after=" + strconv.FormatInt(after, 10)
}

// shortURL is a URL as people say it: without scheme and trailing slash.
func shortURL(address string) string {
	_, rest, found := strings.Cut(address, "://")
	if !found {
		rest = address
	}
	return strings.TrimSuffix(rest, "/")
}

// rootPath is the plan of another folder of the same bundle.
func rootPath(project, bundle, root string) string {
	return planPath(project, bundle) + "?root=" + url.QueryEscape(root)
}
