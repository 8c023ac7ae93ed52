package coderunner

import (
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
	Version   string `json:"version"`   // "18"
	Appliance string `json:"appliance"` // catalogue name: "nodejs-18"
	Why       string `json:"why,omitempty"`
}

// NotOffered is the refusal of a plan whose appliance the server's catalogue does not have.
func (r Runtime) NotOffered() *Error {
	title, known := map[string]string{"nodejs": "Node.js", "python": "Python", "go": "Go", "manifest": "Manifest", "static": "static sites"}[r.Name]
	if !known {
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
	StaticDir      Choice            `json:"static_dir"`
	Port           int               `json:"port"` // given to the app as PORT
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
	if strings.TrimSpace(p.Start.Value) == "" {
		return FieldError("start", "The plan has no start command. Add a Procfile with a line web:, or \"start\" to the scripts in package.json, or type the command here.")
	}
	for field, command := range map[string]string{"install": p.Install.Value, "build": p.Build.Value, "start": p.Start.Value} {
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
	root := p.Root
	if root != "." && (root == "" || strings.HasPrefix(root, "/") || strings.Contains("/"+root+"/", "/../") || strings.IndexByte(root, 0) >= 0) {
		return FieldError("root", "The root directory %q must be a folder within the upload.", clip(root, 60))
	}
	return nil
}
