package analyzer

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// manifest is the one-file backend, the npm package manifest 4.x.
const manifest = "manifest"

// manifestFiles are where its file is, by version; the first that is one wins.
var manifestFiles = []string{"manifest.yml", "manifest.yaml", "manifest/backend.yml", "backend.yml"}

// lookManifest recognises a Manifest backend by its dependency, or by what its
// file holds: Cloud Foundry and Kubernetes have files of the same name.
func lookManifest(t *tree, root string, top listing) (*project, error) {
	if !top.hasFile("package.json") && !top.hasFile("manifest.yml") && !top.hasFile("manifest.yaml") && !t.hasFile(path.Join(root, "manifest/backend.yml")) {
		return nil, nil
	}
	a, err := t.readNodeApp(root)
	if err != nil {
		return nil, nil //nolint:nilerr // it is about the package.json, and lookNode tells of it
	}
	why := a.manifestDependency()
	for _, name := range manifestFiles {
		data, err := a.read(name)
		if err != nil {
			return nil, err
		}
		if data == nil || why == "" && !isManifest(data) || isOthersManifest(data) {
			continue
		}
		problems := checkManifest(data)
		if len(problems) > 0 {
			return nil, coderunner.Errorf(coderunner.Invalid, "%s", manifestSentence(path.Join(root, name), problems))
		}
		plan := a.manifestPlan(name, data, why)
		return &project{plan: plan, evidence: name, rank: declared}, nil
	}
	return nil, nil
}

var manifestRange = regexp.MustCompile(`^(?:[\^~=v>]*\s*4(?:\.|$)|latest$|\*$|next$)`)

// manifestDependency is the evidence in package.json that the project runs on Manifest, or "".
func (a *nodeApp) manifestDependency() string {
	if f, ok := a.pkg.dependency("manifest"); ok && manifestRange.MatchString(strings.TrimSpace(f.value)) {
		return "dependency manifest in " + f.at()
	}
	for _, name := range a.pkg.scripts.names {
		if f, _ := a.pkg.scripts.get(name); strings.Contains(f.value, "node_modules/manifest/") {
			return scriptWhy(name, f)
		}
	}
	return ""
}

// manifestPlan is the plan of a backend. The appliance has the program
// manifest-runner, which gives Manifest its file, its database and its secrets.
func (a *nodeApp) manifestPlan(file string, data []byte, why string) coderunner.Plan {
	a.warnings = append([]string(nil), a.pkg.notes...)
	p := coderunner.Plan{Type: manifest, Root: a.root, TypeWhy: orElse(why, "what "+file+" holds"),
		Framework:  coderunner.Choice{Value: "Manifest", Why: file},
		Runtime:    coderunner.Runtime{Name: manifest, Version: "4", Appliance: "manifest-runner", Why: orElse(why, file)},
		Install:    coderunner.Choice{Why: "no package.json"},
		Start:      coderunner.Choice{Value: "manifest-runner " + shellQuote(file), Why: "the file " + file},
		Port:       defaultPort,
		PortWhy:    "the default; Manifest listens on PORT",
		HealthPath: coderunner.Choice{Value: "/api/health", Why: "Manifest answers it when it is ready"},
	}
	if a.pkg.exists {
		p.PackageManager, p.Install = a.install()
		if why := a.frontEnd(); why != "" {
			a.warn("The package.json also holds a front end (%s), which is not built or started here. Deploy it as a project of its own.", why)
		}
	}
	p.Databases = a.manifestDatabase()
	a.source.findings = append(a.source.findings, interpolated(file, data)...)
	a.finish(&p)
	return p
}

// frontEnd is the evidence of a site beside the backend, or "".
func (a *nodeApp) frontEnd() string {
	if framework := a.framework(); framework.Value != "" {
		return framework.Why
	}
	return ""
}

var postgresConnection = regexp.MustCompile(`(?m)^\s*(?:export\s+)?DB_CONNECTION\s*=\s*["']?postgres`)

// manifestDatabase looks for the wish for PostgreSQL where it is kept, in example settings.
func (a *nodeApp) manifestDatabase() []coderunner.DatabaseNeed {
	for _, name := range []string{".env.example", ".env.sample", ".env.production", "env-example", "compose.yml", "docker-compose.yml"} {
		data := a.head(name, 64<<10)
		if at := postgresConnection.FindIndex(data); at != nil {
			return []coderunner.DatabaseNeed{{Appliance: "postgres-15", Why: "DB_CONNECTION in " + place(name, lineOf(data, "DB_CONNECTION"))}}
		}
	}
	a.warn("Manifest keeps its data in a SQLite file on the project's volume unless PostgreSQL or MySQL is ticked. What is in one is not moved to another.")
	return nil
}

var interpolation = regexp.MustCompile(`\$\{([A-Za-z_]\w{0,127})\}`)

// interpolated are the variables that the file itself names.
func interpolated(file string, data []byte) []finding {
	var list []finding
	for _, m := range interpolation.FindAllSubmatchIndex(data, 100) {
		list = append(list, finding{kind: readsVariable, text: string(data[m[2]:m[3]]), lang: javascript,
			file: file, line: 1 + strings.Count(string(data[:m[0]]), "\n")})
	}
	return list
}

// problem is what is wrong with a line of a file.
type problem struct {
	line int
	text string
}

// manifestSentence tells the first problems of a file.
func manifestSentence(file string, problems []problem) string {
	file = printable(file)
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: %s.", file, problems[0].line, problems[0].text)
	for _, p := range problems[1:min(len(problems), 4)] {
		fmt.Fprintf(&b, " Line %d: %s.", p.line, p.text)
	}
	if more := len(problems) - 4; more > 0 {
		fmt.Fprintf(&b, " And %d more.", more)
	}
	return b.String() + " Manifest would not start with it. Mend the file and upload again."
}
