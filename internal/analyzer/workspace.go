package analyzer

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// isWorkspace reports whether a folder's package installs the packages below it as well.
func (t *tree) isWorkspace(dir string) bool {
	if !t.hasFile(path.Join(dir, "package.json")) {
		return false
	}
	if t.hasFile(path.Join(dir, "pnpm-workspace.yaml")) {
		return true
	}
	pkg, err := t.readPackageJSON(path.Join(dir, "package.json"))
	return err == nil && pkg.workspaces
}

// memberPlan is the plan of a folder whose package a workspace above it installs; ok
// is false for any other folder.
func (t *tree) memberPlan(folder string) (plan coderunner.Plan, ok bool, err error) {
	if folder == "." || !t.hasFile(path.Join(folder, "package.json")) || t.isWorkspace(folder) {
		return plan, false, nil
	}
	above := path.Dir(folder)
	for !t.isWorkspace(above) {
		if above == "." {
			return plan, false, nil
		}
		above = path.Dir(above)
	}
	here, broken, err := t.projectsIn(folder)
	if err != nil || len(here) == 0 || here.best().node == nil || here.best().plan.Type != nodejs {
		return plan, false, errors.Join(err, broken)
	}
	others, _, err := t.projectsBelow(above)
	if err != nil {
		return plan, false, err
	}
	workspace, err := t.readNodeApp(above)
	if err != nil {
		return plan, false, err
	}
	return workspace.workspacePlan(here.best(), others), true, nil
}

// workspacePlan is the plan of a workspace whose member does the work: it is
// installed at the top, where the lockfile is, and the member's commands run in its
// folder. The other packages below are built before it where it needs them.
func (a *nodeApp) workspacePlan(member *project, others []*project) coderunner.Plan {
	plan := a.plan()
	dir := a.below(member.root)
	manager, _, _ := strings.Cut(plan.PackageManager.Value, "@")
	in := func(choice coderunner.Choice) coderunner.Choice {
		if choice.Value == "" {
			return coderunner.Choice{}
		}
		enter := "cd " + shellQuote(dir) + " && "
		if manager == "pnpm" {
			enter += `PATH="$PWD/node_modules/.bin:$PATH" && ` // pnpm gives each package its own programs
		}
		return coderunner.Choice{Value: enter + choice.Value, Why: inFolder(dir, choice.Why)}
	}
	plan.TypeWhy = "the workspace in package.json"
	plan.Framework = member.plan.Framework
	if plan.Framework.Value != "" {
		plan.Framework.Why = inFolder(dir, plan.Framework.Why)
	}
	plan.Start = in(member.plan.Start)
	if plan.Build.Value == "" {
		plan.Build = a.workspaceBuild(member, others, in(member.plan.Build))
	}
	plan.StaticDir, plan.StaticFallback = coderunner.Choice{}, member.plan.StaticFallback
	if member.plan.StaticDir.Value != "" {
		plan.StaticDir = coderunner.Choice{Value: path.Join(dir, member.plan.StaticDir.Value), Why: inFolder(dir, member.plan.StaticDir.Why)}
	}
	plan.Port, plan.PortWhy = member.plan.Port, inFolder(dir, member.plan.PortWhy)
	plan.Databases = nil
	for _, need := range member.plan.Databases {
		parts := strings.Split(need.Why, "; ")
		for i := range parts {
			parts[i] = inFolder(dir, parts[i])
		}
		plan.Databases = append(plan.Databases, coderunner.DatabaseNeed{Appliance: need.Appliance, Why: strings.Join(parts, "; ")})
	}
	if len(member.plan.Processes) > 0 && len(plan.Processes) == 0 {
		plan.Processes = map[string]string{}
		for name, command := range member.plan.Processes {
			plan.Processes[name] = in(coderunner.Choice{Value: command}).Value
		}
	}
	plan.Warnings = append(a.installWarnings(), member.appWarnings()...)
	return plan
}

// below is a folder's name seen from the package.
func (a *nodeApp) below(dir string) string {
	if a.root == "." {
		return dir
	}
	return strings.TrimPrefix(dir, a.root+"/")
}

// installWarnings are what is odd about the installation of the workspace.
func (a *nodeApp) installWarnings() []string {
	a.warnings = append([]string(nil), a.pkg.notes...)
	a.runtime()
	a.install()
	return a.warnings
}

// appWarnings are a member's, without those about its installation, which is the workspace's.
func (p *project) appWarnings() []string {
	install := p.node.installWarnings()
	var rest []string
	for _, warning := range p.plan.Warnings {
		if len(install) > 0 && warning == install[0] {
			install = install[1:]
			continue
		}
		rest = append(rest, warning)
	}
	return rest
}

var packageName = regexp.MustCompile(`^(@[\w.-]{1,100}/)?[\w.-]{1,100}$`)

// workspaceBuild is the build of a member and of what it needs of the others: by
// Turborepo or Nx where the workspace has one, else one after the other.
func (a *nodeApp) workspaceBuild(member *project, others []*project, own coderunner.Choice) coderunner.Choice {
	name := member.node.pkg.name.value
	if packageName.MatchString(name) && own.Value != "" {
		for _, tool := range []struct{ file, name, command string }{
			{"turbo.json", "turbo", "turbo run build --filter=" + name},
			{"nx.json", "nx", "nx run " + name + ":build"},
		} {
			if _, has := a.pkg.dependency(tool.name); has && a.hasFile(tool.file) {
				return coderunner.Choice{Value: tool.command, Why: tool.file}
			}
		}
	}
	var before []string
	seen := map[string]bool{member.root: true}
	var visit func(p *project)
	visit = func(p *project) {
		for _, other := range others {
			if other.node == nil || seen[other.root] || other.node.pkg.name.value == "" {
				continue
			}
			if _, needed := p.node.pkg.dependency(other.node.pkg.name.value); !needed {
				continue
			}
			seen[other.root] = true
			visit(other)
			if text, _, ok := other.node.pkg.script("build"); ok {
				if strings.ContainsAny(text, "#\n") {
					text = "npm run build" // which keeps a comment from what follows
				}
				before = append(before, fmt.Sprintf("(cd %s && %s)", shellQuote(a.below(other.root)), text))
			}
		}
	}
	visit(member)
	if len(before) == 0 {
		return own
	}
	if own.Value == "" {
		return coderunner.Choice{Value: strings.Join(before, " && "), Why: "the packages that " + inFolder(a.below(member.root), "the one in package.json") + " needs"}
	}
	return coderunner.Choice{Value: strings.Join(before, " && ") + " && " + own.Value, Why: own.Why + ", after the packages that it needs"}
}
