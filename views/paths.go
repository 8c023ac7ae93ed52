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
func rollbackPath(deployment string) string    { return "/deployments/" + deployment + "/rollback" }
func actPath(project, what string) string      { return "/projects/" + project + "/" + what }
func variablesPath(id string) string           { return "/projects/" + id + "/variables" }
func databasePath(project, appliance, what string) string {
	return tabPath(project, TabDatabases) + "/" + appliance + "/" + what
}
func runPath(id string) string                 { return "/runs/" + id }
func cancelPath(id string) string              { return "/runs/" + id + "/cancel" }
func fixPath(id string) string                 { return "/runs/" + id + "/fix" }
func downloadPath(id string) string            { return "/runs/" + id + "/log.txt" }
func planPath(project, bundle string) string   { return "/projects/" + project + "/bundles/" + bundle }
func deployPath(project, bundle string) string { return planPath(project, bundle) + "/deploy" }
func samplePath(name string) string            { return "/samples/" + name }
func revokePath(session string) string         { return "/account/sessions/" + session + "/revoke" }

func deploymentsPath(project string, page int) string {
	return tabPath(project, TabDeployments) + "?page=" + strconv.Itoa(page)
}

func eventsPath(run string, after int64) string {
	return "/runs/" + run + "/events?after=" + strconv.FormatInt(after, 10)
}

// setVariablePath is where a variable is set that a failed run wants; saving leads back to the run.
func setVariablePath(project, key, run string) string {
	return variablesPath(project) + "?" + url.Values{"add": {key}, "run": {run}}.Encode()
}

// shortURL is a URL as people say it: without scheme and trailing slash.
func shortURL(address string) string {
	_, rest, found := strings.Cut(address, "://")
	if !found {
		rest = address
	}
	return strings.TrimSuffix(rest, "/")
}

// ProjectsPath is a page of the projects that match a search, or of all.
func ProjectsPath(search string, page int) string {
	query := url.Values{}
	if search != "" {
		query.Set("q", search)
	}
	if page > 1 {
		query.Set("page", strconv.Itoa(page))
	}
	if len(query) == 0 {
		return "/projects"
	}
	return "/projects?" + query.Encode()
}

// rootPath is the plan of another folder of the same bundle.
func rootPath(project, bundle, root string) string {
	return planPath(project, bundle) + "?root=" + url.QueryEscape(root)
}
