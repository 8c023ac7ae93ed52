package views

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// PlanPage shows what the analyzer says about a bundle, every field editable.
// The form posts to /projects/{project}/bundles/{bundle}/deploy; its fields are
// those of PlanForm.
type PlanPage struct {
	Frame
	Project   coderunner.Project
	New       bool // the project has no deployment yet; its name can still be changed
	Bundle    coderunner.Bundle
	Plan      coderunner.Plan // the analyzer's, for the reasons; Type "" when nothing was recognised
	Form      PlanForm        // what the fields hold
	Errors    FieldErrors     // by field name; a variable's by "env_key.<row>" or "env_value.<row>"
	Runtimes  []coderunner.Appliance
	Databases []DatabaseOption
	Drops     []coderunner.Drop // the columns that a Manifest backend would lose
	Found     []string          // names at the top of the tree, shown when nothing was recognised

	UploadLimit int64 // bytes of one upload
}

// DatabaseOption is a database that can be ticked.
type DatabaseOption struct {
	Appliance coderunner.Appliance
	Why       string // evidence in the code; "" if there is none
	Existing  bool   // the project has it already; it stays
	Detached  bool   // the project had it, with data that is kept
}

// protocol is what the app would speak with it.
func (o DatabaseOption) protocol() coderunner.Protocol {
	return coderunner.ProtocolOf(o.Appliance.Name)
}

// alone says what else the app reads if the project has no other database.
func (o DatabaseOption) alone() string {
	if o.protocol() == coderunner.MySQL {
		return ", or DATABASE_URL in a project without PostgreSQL"
	}
	return ""
}

// alsoGiven ends the sentence about what nobody has to set.
func (p PlanPage) alsoGiven() string {
	if len(p.Databases) > 0 {
		return "is set for you, and so are the variables of each database that is ticked"
	}
	return "is set for you"
}

// PlanForm is the plan as the form carries it. Its field names are the HTML
// names: name, root, appliance, install, build, start, static_dir, static_fallback, release,
// port, health_path, database (repeated), env_key and env_value (repeated, in pairs).
type PlanForm struct {
	Name       string
	Root       string
	Appliance  string
	Install    string
	Build      string
	Start      string
	StaticDir  string
	Fallback   string // static_fallback
	Release    string // the command before each new version serves
	Port       string
	HealthPath string
	Databases  []string
	Env        []EnvRow

	AcceptDrops bool // of the columns of PlanPage.Drops
}

// EnvRow is one variable of the form.
type EnvRow struct {
	Key, Value string
	Why        string // where the code reads it; "" for a row of the user's own
}

// commonPort is proposed where the analyzer has no opinion: the app is told to
// listen there, by PORT.
const commonPort = 8080

// NewPlanForm fills the form from a plan: its databases are ticked, the keys it
// reads are offered with empty values.
func NewPlanForm(project coderunner.Project, plan coderunner.Plan) PlanForm {
	form := PlanForm{
		Name: project.Name, Root: plan.Root, Appliance: plan.Runtime.Appliance,
		Install: plan.Install.Value, Build: plan.Build.Value, Start: plan.Start.Value,
		HealthPath: plan.HealthPath.Value, StaticDir: plan.StaticDir.Value, Fallback: plan.StaticFallback.Value, Release: plan.Processes[coderunner.ReleaseProcess],
	}
	if form.Root == "" {
		form.Root = "."
	}
	form.Port = strconv.Itoa(cmp.Or(plan.Port, commonPort))
	var ticked []coderunner.Protocol
	for _, need := range plan.Databases {
		form.Databases = append(form.Databases, need.Appliance)
		ticked = append(ticked, coderunner.ProtocolOf(need.Appliance))
	}
	given := coderunner.DatabaseKeys(ticked...)
	for _, key := range plan.EnvKeys {
		if slices.Contains(given, key.Key) {
			continue // set by the platform
		}
		form.Env = append(form.Env, EnvRow{Key: key.Key, Why: key.Why})
	}
	return form
}

// ReadPlanForm reads the posted form. Rows without key and value are dropped;
// a key without value stays, so that it can be shown again.
func ReadPlanForm(posted url.Values) PlanForm {
	form := PlanForm{
		Name: posted.Get("name"), Root: posted.Get("root"), Appliance: posted.Get("appliance"),
		Install: posted.Get("install"), Build: posted.Get("build"), Start: posted.Get("start"),
		Port: posted.Get("port"), HealthPath: posted.Get("health_path"),
		StaticDir: posted.Get("static_dir"), Fallback: posted.Get("static_fallback"), Release: posted.Get("release"),
		Databases: posted["database"], AcceptDrops: posted.Get("accept_drops") != "",
	}
	values := posted["env_value"]
	for i, key := range posted["env_key"] {
		row := EnvRow{Key: strings.TrimSpace(key)}
		if i < len(values) {
			row.Value = strings.ReplaceAll(values[i], "\r\n", "\n") // as forms send the lines of a text area
		}
		if row.Key != "" || row.Value != "" {
			form.Env = append(form.Env, row)
		}
	}
	return form
}

// Plan answers base with the form's values in place of its own. A value that the
// user changed gets the reason "your choice". The result is checked as
// coderunner.Plan.Check does; a port that is no number is an error of its own.
func (f PlanForm) Plan(base coderunner.Plan) (coderunner.Plan, error) {
	plan := base
	choose := func(choice *coderunner.Choice, value string) {
		if value = strings.TrimSpace(value); value != choice.Value {
			*choice = coderunner.Choice{Value: value, Why: coderunner.YourChoice}
		}
	}
	choose(&plan.Install, f.Install)
	choose(&plan.Build, f.Build)
	choose(&plan.Start, f.Start)
	choose(&plan.HealthPath, f.HealthPath)
	choose(&plan.StaticDir, strings.Trim(f.StaticDir, "/"))
	choose(&plan.StaticFallback, f.Fallback)
	plan.SetProcess(coderunner.ReleaseProcess, strings.TrimSpace(f.Release))
	if plan.Root = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(f.Root), "./"), "/"); plan.Root == "" {
		plan.Root = "."
	}
	if f.Appliance != plan.Runtime.Appliance {
		name, version, _ := strings.Cut(f.Appliance, "-")
		plan.Runtime = coderunner.Runtime{Name: name, Version: version, Appliance: f.Appliance, Why: coderunner.YourChoice}
	}
	if plan.Runtime.Name == "static" && plan.StaticDir.Value == "" && plan.Start.Value == "" {
		plan.StaticDir = coderunner.Choice{Value: ".", Why: coderunner.YourChoice}
	}
	if plan.Type == "" {
		plan.Type, plan.TypeWhy = plan.Runtime.Name, coderunner.YourChoice
	}
	port, err := strconv.Atoi(strings.TrimSpace(f.Port))
	if err != nil {
		return plan, coderunner.FieldError("port", "The port must be a number from 1024 to 65535.")
	}
	if port != plan.Port {
		plan.Port, plan.PortWhy = port, coderunner.YourChoice
	}
	plan.Databases = nil
	for _, appliance := range f.Databases {
		need := coderunner.DatabaseNeed{Appliance: appliance, Why: coderunner.YourChoice}
		if i := slices.IndexFunc(base.Databases, func(n coderunner.DatabaseNeed) bool { return n.Appliance == appliance }); i >= 0 {
			need = base.Databases[i]
		}
		plan.Databases = append(plan.Databases, need)
	}
	return plan, plan.Check()
}

// why answers where the code reads key.
func (p PlanPage) why(row EnvRow) string {
	if row.Why != "" {
		return row.Why
	}
	for _, key := range p.Plan.EnvKeys {
		if key.Key == row.Key {
			return key.Why
		}
	}
	return ""
}

// planFields are the fields that have an input of their own; an error about
// any other is shown at the top.
var planFields = [...]string{"name", "root", "appliance", "install", "build", "start", "static_dir", "static_fallback", "release", "port", "health_path"}

// problem answers the sentence about the form as a whole, or about something
// that has no input.
func (p PlanPage) problem() string {
	if sentence := p.Errors[""]; sentence != "" {
		return sentence
	}
	for field, sentence := range p.Errors {
		if !slices.Contains(planFields[:], field) && !strings.HasPrefix(field, "env_") && field != "database" && field != "accept_drops" {
			return sentence
		}
	}
	return ""
}

// placeholder says what an empty field means.
func placeholder(field string) string {
	switch field {
	case "install":
		return "nothing to install"
	case "build":
		return "nothing to build"
	case "start":
		return "the command that starts the app"
	case "static_dir":
		return "none: the app answers by itself"
	case "static_fallback":
		return "none: what is not there is not found"
	case "release":
		return "nothing, migrations for example"
	case "port":
		return strconv.Itoa(commonPort)
	case "health_path":
		return "/"
	}
	return ""
}

// typeName is a plan's type as people write it.
func typeName(kind string) string {
	switch kind {
	case "nodejs":
		return "Node.js"
	case "python":
		return "Python"
	case "manifest":
		return "Manifest"
	case "static":
		return "Static files"
	case "go":
		return "Go"
	case "":
		return "Not recognised"
	}
	return kind
}

// static reports whether the plan's fields about files are shown: it has files to serve, or was
// asked to by the form.
func (p PlanPage) static() bool {
	return p.Plan.StaticDir.Value != "" || p.Form.StaticDir != "" || p.Form.Appliance == "static"
}

// beside are the processes that run beside the app, by name.
func (p PlanPage) beside() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.Plan.Processes)) {
		if coderunner.RunsBeside(name) {
			names = append(names, name)
		}
	}
	return names
}
