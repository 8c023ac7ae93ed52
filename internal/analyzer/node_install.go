package analyzer

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// lockfiles, the first wins. shrinkwrap is npm's too and preferred by it.
var lockfiles = []struct{ name, manager string }{
	{"pnpm-lock.yaml", "pnpm"},
	{"bun.lock", "bun"},
	{"bun.lockb", "bun"},
	{"yarn.lock", "yarn"},
	{"npm-shrinkwrap.json", "npm"},
	{"package-lock.json", "npm"},
}

// install says which package manager the project uses and how it installs.
//
// The appliance has npm alone; pnpm, yarn and bun are fetched by npx. With a lockfile
// the command is "npm ci"; what to do when the lockfile is out of step with
// package.json is the playbook's business. The commands for pnpm and yarn ask for
// devDependencies, whatever NODE_ENV says, because builds need them; "npm ci" has to
// be run without NODE_ENV=production.
func (a *nodeApp) install() (manager, install coderunner.Choice) {
	if !a.pkg.exists {
		return coderunner.Choice{}, coderunner.Choice{Why: "no package.json"}
	}
	manager, lockfile := a.packageManager()
	name, wanted, _ := strings.Cut(manager.Value, "@")
	if name == "npm" && lockfile == "" && a.nothingToInstall() {
		return manager, coderunner.Choice{Why: "package.json lists no dependencies"}
	}
	why := lockfile
	if lockfile == "" {
		why = "no lockfile"
		a.warn("There is no lockfile, so that each deployment may install other versions. Run %s install and upload its lockfile too.", name)
	}
	switch name {
	case "pnpm":
		if wanted == "" {
			wanted = a.pnpmMajor()
		}
		command := "npx --yes pnpm@" + wanted + " install --prod=false"
		if lockfile != "" {
			command += " --frozen-lockfile"
		}
		a.warn("The project uses pnpm, which the appliances for Node.js do not have: npx fetches pnpm %s for the installation.", wanted)
		return manager, coderunner.Choice{Value: command, Why: why}
	case "yarn":
		return manager, coderunner.Choice{Value: a.yarnInstall(wanted, lockfile), Why: why}
	case "bun":
		wanted = orElse(wanted, "1")
		command := "npx --yes bun@" + wanted + " install"
		if lockfile != "" {
			command += " --frozen-lockfile"
		}
		a.warn("The project uses bun, which the appliances for Node.js do not have: npx fetches bun %s for the installation, and node runs the app.", wanted)
		return manager, coderunner.Choice{Value: command, Why: why}
	}
	if lockfile == "" {
		return manager, coderunner.Choice{Value: "npm install", Why: why}
	}
	return manager, coderunner.Choice{Value: "npm ci", Why: why}
}

// packageManager returns the manager, with the version where one is asked for
// ("pnpm@8.15.9"), and its lockfile, or "".
func (a *nodeApp) packageManager() (manager coderunner.Choice, lockfile string) {
	var present []string
	byManager := map[string]string{}
	for _, lock := range lockfiles {
		if !a.hasFile(lock.name) {
			continue
		}
		present = append(present, lock.name)
		if byManager[lock.manager] == "" {
			byManager[lock.manager] = lock.name
		}
		if manager.Value == "" {
			manager = coderunner.Choice{Value: lock.manager, Why: lock.name}
		}
	}
	if f := a.pkg.packageManager; f.value != "" {
		name, version := wantedManager(f.value)
		switch name {
		case "npm":
			manager = coderunner.Choice{Value: name, Why: "packageManager in " + f.at()}
		case "pnpm", "yarn", "bun":
			manager = coderunner.Choice{Value: name, Why: "packageManager in " + f.at()}
			if version != "" {
				manager.Value += "@" + version
			}
		default:
			a.warn("packageManager in %s names %q, which is not known.", f.at(), printable(f.value))
		}
	}
	if manager.Value == "" {
		for _, name := range []string{"pnpm", "yarn"} {
			if f, ok := a.pkg.engines.get(name); ok {
				manager = coderunner.Choice{Value: name, Why: fmt.Sprintf("engines.%s in %s", name, f.at())}
				break
			}
		}
	}
	if manager.Value == "" {
		manager = coderunner.Choice{Value: "npm", Why: "the default"}
	}
	name, _, _ := strings.Cut(manager.Value, "@")
	lockfile = byManager[name]
	switch {
	case len(byManager) > 1:
		a.warn("There are lockfiles of several package managers (%s); %s is used. Remove the others.",
			strings.Join(present, ", "), orElse(lockfile, name))
	case lockfile == "" && len(present) > 0 && name == "npm":
		// Nothing of npm's own to read; said by install.
	case lockfile == "" && len(present) > 0:
		a.warn("%s asks for %s, but the lockfile is %s, which it does not read.", manager.Why, name, present[0])
	}
	return manager, lockfile
}

// wantedManager splits "pnpm@8.15.9+sha512.abc" and lets nothing through that is not a version.
func wantedManager(text string) (name, version string) {
	name, version, _ = strings.Cut(strings.TrimSpace(text), "@")
	version, _, _ = strings.Cut(version, "+")
	if version == "" || strings.Trim(version, "0123456789.") != "" {
		version = ""
	}
	return name, version
}

// nothingToInstall reports whether npm would have nothing to do.
func (a *nodeApp) nothingToInstall() bool {
	for _, hook := range []string{"preinstall", "install", "postinstall", "prepare"} {
		if _, ok := a.pkg.scripts.get(hook); ok {
			return false
		}
	}
	return !a.pkg.workspaces && len(a.pkg.dependencies.fields)+len(a.pkg.devDependencies.fields)+len(a.pkg.optionalDependencies.fields) == 0
}

// pnpmMajor is the pnpm that wrote the lockfile, as far as each Node.js that there is runs it. pnpm 6 does not run on 20
// and newer; 7 reads what it wrote.
func (a *nodeApp) pnpmMajor() string {
	head := a.head("pnpm-lock.yaml", 512)
	for _, format := range []struct{ lock, major string }{{"5.3", "7"}, {"5.4", "7"}, {"6.", "8"}} {
		for _, quote := range []string{"", "'", `"`} {
			if bytes.Contains(head, []byte("lockfileVersion: "+quote+format.lock)) {
				return format.major
			}
		}
	}
	return "9"
}

func (a *nodeApp) yarnInstall(wanted, lockfile string) string {
	berry := a.hasFile(".yarnrc.yml") || bytes.Contains(a.head("yarn.lock", 1024), []byte("__metadata:"))
	if wanted != "" {
		berry = !strings.HasPrefix(wanted, "1.") && wanted != "1"
	}
	if !berry {
		wanted = orElse(wanted, "1.22.22")
		command := "npx --yes yarn@" + wanted + " install --production=false"
		if lockfile != "" {
			command += " --frozen-lockfile"
		}
		a.warn("The project uses yarn, which the appliances for Node.js do not have: npx fetches yarn %s for the installation.", wanted)
		return command
	}
	program := "npx --yes @yarnpkg/cli-dist@" + orElse(wanted, "4")
	if own := a.yarnPath(); own != "" {
		program = "node " + shellQuote(own)
		a.warn("The project uses its own yarn, %s. Its packages go to node_modules, whatever .yarnrc.yml says.", printable(own))
	} else {
		a.warn("The project uses yarn, which the appliances for Node.js do not have: npx fetches yarn %s for the installation. "+
			"Its packages go to node_modules, whatever .yarnrc.yml says.", orElse(wanted, "4"))
	}
	command := "YARN_NODE_LINKER=node-modules " + program + " install"
	if lockfile != "" {
		command += " --immutable"
	}
	return command
}

// yarnPath is the yarn that the project brings along, if the file is there.
func (a *nodeApp) yarnPath() string {
	for line := range strings.Lines(string(a.head(".yarnrc.yml", 16<<10))) {
		if value, ok := strings.CutPrefix(line, "yarnPath:"); ok {
			value = strings.Trim(strings.TrimSpace(value), `"'`)
			if a.hasFile(value) {
				return value
			}
		}
	}
	return ""
}
