package analyzer

import "testing"

// A package of a workspace is installed where the lockfile is, also when the user chose its folder.
func TestFolderOfAWorkspace(t *testing.T) {
	t.Parallel()
	tree := files("package.json", `{"workspaces": ["apps/*"]}`, "package-lock.json", `{"lockfileVersion": 3}`,
		"apps/api/package.json", `{"scripts": {"start": "node api.js"}}`, "apps/web/package.json", `{"scripts": {"start": "node web.js"}}`,
		"other/index.html", "")
	for folder, want := range map[string]struct{ root, install, start string }{
		"apps/api": {".", "npm ci", "cd apps/api && node api.js"},
		"apps/web": {".", "npm ci", "cd apps/web && node web.js"},
		"other":    {"other", "", ""},
		"apps":     {"apps/api", "", "node api.js"},
	} {
		plan, err := AnalyzeFolder(tree, folder)
		if err != nil || plan.Root != want.root || plan.Install.Value != want.install || plan.Start.Value != want.start {
			t.Errorf("%s: %v, root %q, install %q, start %q; want %+v", folder, err, plan.Root, plan.Install.Value, plan.Start.Value, want)
		}
	}
}
