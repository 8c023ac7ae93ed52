package analyzer

import (
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// The dependencies go to .venv in the project's folder, whose bin directory
// commands find first, and a package manager other than pip to .tools beside it, so that
// its own dependencies do not meddle with the project's.
const (
	makeVenv  = "python3 -m venv .venv && "
	makeVenvs = "python3 -m venv .venv .tools && .tools/bin/pip install "
	pip       = ".venv/bin/pip install"
)

// pythonManagers, the first whose files are there wins.
var pythonManagers = []struct {
	name, lockfile, needs string
	locked                string // the command with the lockfile
	loose                 string // and without; "" for pip's way
}{
	{"uv", "uv.lock", "pyproject.toml", "uv && .tools/bin/uv sync --locked --no-dev --inexact", ""},
	{"poetry", "poetry.lock", "pyproject.toml", "poetry && .tools/bin/poetry install --only main --no-interaction", ""},
	{"pdm", "pdm.lock", "pyproject.toml", "pdm && .tools/bin/pdm sync --prod", ""},
	{"pipenv", "Pipfile.lock", "Pipfile", "pipenv && PIPENV_VENV_IN_PROJECT=1 .tools/bin/pipenv sync", ""},
}

// install says what installs the dependencies, and how.
func (a *pythonApp) install() (manager, install coderunner.Choice) {
	manager, install = a.usualInstall()
	if len(a.needs) == 0 {
		return manager, install
	}
	more := pip + " " + strings.Join(a.needs, " ")
	switch {
	case install.Value == "":
		install = coderunner.Choice{Value: makeVenv + more, Why: "what the start command needs"}
	case strings.HasSuffix(install.Value, ".txt"):
		install.Value += " " + strings.Join(a.needs, " ")
	default:
		install.Value += " && " + more
	}
	if a.manager == "" {
		return manager, install
	}
	a.warn("The project does not ask for %s, which runs the app in production; it is installed as well. Add it to %s to choose its version.",
		strings.Join(a.needs, " and "), a.listsNeeds())
	return manager, install
}

// listsNeeds is the file in which the project says what it needs.
func (a *pythonApp) listsNeeds() string {
	for _, name := range slices.Concat(requirementsNames, []string{"Pipfile", "pyproject.toml"}) {
		if a.hasFile(name) {
			return name
		}
	}
	return "setup.py"
}

func (a *pythonApp) usualInstall() (manager, install coderunner.Choice) {
	var present []string
	for _, m := range pythonManagers {
		if a.hasFile(m.lockfile) {
			present = append(present, m.lockfile)
		}
	}
	requirements := ""
	for _, name := range requirementsNames {
		if a.hasFile(name) {
			requirements = name
			break
		}
	}
	if requirements != "" {
		if len(present) > 0 {
			a.warn("There are files of several package managers (%s, %s); %s is used. Remove the others.", requirements, strings.Join(present, ", "), requirements)
		}
		a.manager = "pip"
		return coderunner.Choice{Value: "pip", Why: requirements},
			coderunner.Choice{Value: makeVenv + pip + " -r " + shellQuote(requirements), Why: requirements}
	}
	if len(present) > 1 {
		a.warn("There are lockfiles of several package managers (%s); %s is used. Remove the others.", strings.Join(present, ", "), present[0])
	}
	for _, m := range pythonManagers {
		if !a.hasFile(m.lockfile) || !a.hasFile(m.needs) {
			continue
		}
		a.manager, a.lockfile = m.name, m.lockfile
		command := makeVenvs + m.locked
		if m.name == "poetry" && !a.isPackage() {
			command += " --no-root"
		}
		return coderunner.Choice{Value: m.name, Why: m.lockfile}, coderunner.Choice{Value: command, Why: m.lockfile}
	}
	return a.unlockedInstall()
}

// unlockedInstall is for projects that say what they need and have no lockfile.
func (a *pythonApp) unlockedInstall() (manager, install coderunner.Choice) {
	var why string
	command := makeVenv + pip
	switch {
	case a.hasFile("Pipfile"):
		a.manager, why = "pipenv", "Pipfile"
		command = makeVenvs + "pipenv && PIPENV_VENV_IN_PROJECT=1 .tools/bin/pipenv install --skip-lock"
	case a.pyproject != nil && a.isPackage():
		a.manager, why = "pip", "pyproject.toml"
		command += " ."
	case a.pyproject != nil && len(a.pyproject.Project.Dependencies) > 0:
		a.manager, why = "pip", "pyproject.toml"
		for _, text := range a.pyproject.Project.Dependencies {
			if command += " " + shellQuote(text); len(command) > coderunner.MaxCommand {
				break
			}
		}
		if len(command) > coderunner.MaxCommand {
			command = makeVenv + pip + " ."
		}
	case a.pyproject != nil && len(a.pyproject.Tool.Poetry.Dependencies) > 0:
		a.manager, why = "poetry", "pyproject.toml"
		command = makeVenvs + "poetry && .tools/bin/poetry install --only main --no-interaction --no-root"
	case a.hasFile("setup.py"):
		a.manager, why = "pip", "setup.py"
		command += " ."
	case a.hasFile("environment.yml"):
		a.warn("The project has an environment.yml of conda, which is not supported. List what it needs in a requirements.txt.")
		return coderunner.Choice{}, coderunner.Choice{Why: "nothing that pip reads"}
	default:
		return coderunner.Choice{}, coderunner.Choice{Why: "nothing lists dependencies"}
	}
	a.warn("There is no lockfile, so that each deployment may install other versions. Pin the versions, or upload the lockfile too.")
	return coderunner.Choice{Value: a.manager, Why: why}, coderunner.Choice{Value: command, Why: why + ", no lockfile"}
}

// isPackage reports whether the project says of itself how it is built into a package.
func (a *pythonApp) isPackage() bool {
	if a.pyproject == nil {
		return false
	}
	if mode, given := a.pyproject.Tool.Poetry.PackageMode.(bool); given && !mode {
		return false
	}
	return len(a.pyproject.BuildSystem) > 0 && (a.pyproject.Project.Name != "" && len(a.pyproject.Tool.Poetry.Dependencies) == 0 || a.hasPackageFolder())
}

// hasPackageFolder reports whether a build would find the package by its name.
func (a *pythonApp) hasPackageFolder() bool {
	name := strings.ReplaceAll(normalName(a.pyproject.Project.Name), "-", "_")
	return name != "" && (a.hasFile(name+"/__init__.py") || a.hasFile("src/"+name+"/__init__.py"))
}
