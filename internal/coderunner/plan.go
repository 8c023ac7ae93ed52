package coderunner

import (
	"maps"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Choice is one decision of the analyzer, with the evidence for it, such as
// "scripts.start in package.json". A user's correction has Why "your choice".
type Choice struct {
	Value string `json:"value"`
	Why   string `json:"why,omitempty"`
}

// Runtime names the language a plan runs on and the appliance that provides it.
type Runtime struct {
	Name      string `json:"name"`      // "nodejs", "python", …
	Version   string `json:"version"`   // "18"; "20.11.1" where the project asks for exactly that
	Appliance string `json:"appliance"` // catalogue name: "nodejs-18"
	Why       string `json:"why,omitempty"`
}

// RuntimeTitle is a runtime's name as people write it, "" for one that is not known.
func RuntimeTitle(name string) string {
	return map[string]string{"nodejs": "Node.js", "python": "Python", "go": "Go", "manifest": "Manifest", "static": "static sites"}[name]
}

// ExactNode is the version of Node.js that is put into the app's sandbox beside the appliance's own, as
// in "20.11.1"; "" where the latter is what the project runs on.
func (r Runtime) ExactNode() string {
	if r.Name == "nodejs" && exactVersion.MatchString(r.Version) {
		return r.Version
	}
	return ""
}

var exactVersion = regexp.MustCompile(`^\d{1,3}\.\d{1,4}\.\d{1,4}$`)

// NotOffered is the refusal of a plan whose appliance the server's catalogue does not have.
func (r Runtime) NotOffered() *Error {
	title := RuntimeTitle(r.Name)
	if title == "" {
		return FieldError("appliance", "This server has no appliance %q to run the app on. Choose one that it has.", clip(r.Appliance, 60))
	}
	return FieldError("appliance", "This server cannot run %s yet: it has no appliance %s. Choose another one if the code runs there too, or ask whoever runs this server to upgrade CodeRunner.",
		title, clip(r.Appliance, 60))
}

// DatabaseNeed is a database that the code seems to use.
type DatabaseNeed struct {
	Appliance string `json:"appliance"` // "postgres-15"
	Why       string `json:"why,omitempty"`
}

// EnvKey is an environment variable that the code reads.
type EnvKey struct {
	Key string `json:"key"`
	Why string `json:"why,omitempty"` // "index.js:12"
}

// Candidate is a directory of the tree that could be deployed on its own.
type Candidate struct {
	Root string `json:"root"`
	Type string `json:"type"`
	Why  string `json:"why,omitempty"`
}

// Plan is what the analyzer says about a bundle, and, after the user confirmed
// it, what a deployment does. Type is "" when nothing was recognised; Warnings
// then says what was looked for.
type Plan struct {
	Type           string            `json:"type"` // "nodejs", "python", "manifest", "static", … or ""
	TypeWhy        string            `json:"type_why,omitempty"`
	Framework      Choice            `json:"framework"`
	Root           string            `json:"root"` // slash-separated directory within the bundle, "." for the top
	Runtime        Runtime           `json:"runtime"`
	PackageManager Choice            `json:"package_manager"`
	Install        Choice            `json:"install"` // shell command run in Root inside the sandbox, "" for none
	Build          Choice            `json:"build"`
	Start          Choice            `json:"start"`
	StaticDir      Choice            `json:"static_dir"`      // the folder within Root whose files are the app, "" for an app with a process of its own
	StaticFallback Choice            `json:"static_fallback"` // the page of StaticDir that answers for all that is not there, "" for none
	Port           int               `json:"port"`            // given to the app as PORT
	PortWhy        string            `json:"port_why,omitempty"`
	HealthPath     Choice            `json:"health_path"`
	Databases      []DatabaseNeed    `json:"databases"`
	EnvKeys        []EnvKey          `json:"env_keys"`
	Processes      map[string]string `json:"processes"`
	Warnings       []string          `json:"warnings"`
	Candidates     []Candidate       `json:"candidates"`
}

// MaxCommand is the longest install, build or start command, in bytes.
const MaxCommand = 4096

// Check says whether the plan can be deployed. The sentence names the field.
func (p Plan) Check() error {
	if p.Runtime.Appliance == "" {
		return FieldError("appliance", "Choose what the app runs on.")
	}
	if !p.Starts() {
		return FieldError("start", "The plan has no start command. Add a Procfile with a line web:, or \"start\" to the scripts in package.json, or type the command here.")
	}
	for field, command := range map[string]string{"install": p.Install.Value, "build": p.Build.Value, "start": p.Start.Value, "release": p.Processes[ReleaseProcess]} {
		if len(command) > MaxCommand || !utf8.ValidString(command) || strings.IndexByte(command, 0) >= 0 {
			return FieldError(field, "The %s command is not text of at most %d bytes.", field, MaxCommand)
		}
	}
	if p.Port < 1024 || p.Port > 65535 {
		return FieldError("port", "Port %d cannot be used. Choose one from 1024 to 65535.", p.Port)
	}
	if p.HealthPath.Value != "" && !strings.HasPrefix(p.HealthPath.Value, "/") {
		return FieldError("health_path", "The health path %q must begin with a slash.", clip(p.HealthPath.Value, 60))
	}
	if !isWithin(p.Root) {
		return FieldError("root", "The root directory %q must be a folder within the upload.", clip(p.Root, 60))
	}
	if p.StaticDir.Value != "" && !isWithin(p.StaticDir.Value) {
		return FieldError("static_dir", "The folder to serve, %q, must be within the root directory.", clip(p.StaticDir.Value, 60))
	}
	if f := p.StaticFallback.Value; f != "" && (!isWithin(strings.TrimPrefix(f, "/")) || strings.ContainsAny(f, "{}\n")) {
		return FieldError("static_fallback", "The page for all other addresses, %q, must be a file of the folder to serve.", clip(f, 60))
	}
	return nil
}

// Names of Plan.Processes that mean something, as in a Procfile: WebProcess is the start command,
// ReleaseProcess runs before a new version serves. All others run beside the start command.
const (
	WebProcess     = "web"
	ReleaseProcess = "release"
)

// RunsBeside reports whether a process runs beside the start command.
func RunsBeside(process string) bool { return process != WebProcess && process != ReleaseProcess }

// SetProcess changes one of the processes; an empty command removes it. Other copies of the plan
// stay as they are.
func (p *Plan) SetProcess(name, command string) {
	processes := maps.Clone(p.Processes)
	if processes == nil {
		processes = map[string]string{}
	}
	if processes[name] = command; command == "" {
		delete(processes, name)
	}
	p.Processes = processes
}

// Starts reports whether there is anything to run: a start command, or files to serve.
func (p Plan) Starts() bool { return p.StaticDir.Value != "" || strings.TrimSpace(p.Start.Value) != "" }

// Static reports whether the app is files that are served: it has a folder of them and no start command.
func (p Plan) Static() bool {
	return p.StaticDir.Value != "" && strings.TrimSpace(p.Start.Value) == ""
}

// isWithin: the slash-separated path leads to no place above.
func isWithin(path string) bool {
	return path == "." || path != "" && !strings.HasPrefix(path, "/") && !strings.Contains("/"+path+"/", "/../") && strings.IndexByte(path, 0) < 0
}
