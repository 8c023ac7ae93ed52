package playbook

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// toolDirs are where package managers put the programs of a project's dependencies, by runtime.
var toolDirs = map[string][]string{"nodejs": {"/node_modules/.bin"}, "python": {"/.venv/bin"}, "go": {"/bin"}}

// baseEnv is what every command of a phase gets: the project's variables and its databases.
func (x *execution) baseEnv(ctx context.Context, phase coderunner.VariableScope) (map[string]string, error) {
	env := map[string]string{}
	databases, err := x.given(ctx)
	if err != nil {
		return nil, err
	}
	has := make([]coderunner.Protocol, len(databases))
	for i, d := range databases {
		has[i] = d.Protocol()
	}
	for _, d := range databases {
		if err := checkConnection(d); err != nil {
			return nil, err
		}
		if d.Sealed == nil {
			continue // not provisioned yet; the steps that need it come after
		}
		c, err := x.e.openConnection(d)
		if err != nil {
			return nil, err
		}
		if x.redact != nil {
			x.redact.Add(c.Password)
		}
		maps.Copy(env, d.Protocol().Environment(c, has...))
	}
	if phase == coderunner.RunScope {
		own, err := x.backendEnv(ctx)
		if err != nil {
			return nil, err
		}
		maps.Copy(env, own)
	}
	maps.Copy(env, x.variables.Environment(phase))
	addDefaults(env, x.e.cfg.Sources.Environment(x.e.cfg.LocalNetworks))
	dir := appDir(x.deployment.Plan)
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if x.deployment.Plan.Runtime.ExactNode() != "" {
		path = exactNodeDir + "/package/bin:" + path
	}
	for _, tools := range toolDirs[x.deployment.Plan.Runtime.Name] {
		path = dir + tools + ":/app" + tools + ":" + path
	}
	env["PATH"] = path
	return env, nil
}

// given are the databases whose variables commands and app get: those that are attached, or, of an
// app that is started again without a run, those that it had.
func (x *execution) given(ctx context.Context) ([]store.SealedDatabase, error) {
	if x.run.ID != "" {
		return x.e.store.ProjectDatabases(ctx, x.project.ID)
	}
	all, err := x.e.store.AllDatabases(ctx, x.project.ID)
	return slices.DeleteFunc(all, func(d store.SealedDatabase) bool { return !slices.Contains(x.deployment.AppliedDatabases, d.ID) }), err
}

// buildEnv is for install and build commands.
func (x *execution) buildEnv(ctx context.Context) (map[string]string, error) {
	env, err := x.baseEnv(ctx, coderunner.BuildScope)
	if err != nil {
		return nil, err
	}
	defaults := map[string]string{"CI": "1", "FORCE_COLOR": "1", "npm_config_fund": "false", "npm_config_audit": "false", "npm_config_update_notifier": "false"}
	if x.e.cfg.CABundle != "" {
		// Only here: it makes every start of Node 1.6 times slower.
		defaults["NODE_EXTRA_CA_CERTS"] = x.e.cfg.CABundle
		defaults["PIP_CERT"], defaults["REQUESTS_CA_BUNDLE"] = x.e.cfg.CABundle, x.e.cfg.CABundle
	}
	if x.deployment.Plan.Runtime.ExactNode() != "" {
		defaults["npm_config_nodedir"] = exactNodeDir + "/package" // the headers that native modules are compiled against
	}
	addDefaults(env, defaults)
	if x.e.cfg.PackageCache > 0 {
		addDefaults(env, cacheEnvironment())
	}
	return env, nil
}

// addDefaults adds what is not there. Tools read some names in either case: one that is there
// in another counts.
func addDefaults(env, defaults map[string]string) {
	there := map[string]bool{}
	for name := range env {
		there[strings.ToLower(name)] = true
	}
	for name, value := range defaults {
		if !there[strings.ToLower(name)] {
			env[name] = value
		}
	}
}

// appEnv is for the app itself.
func (x *execution) appEnv(ctx context.Context) (map[string]string, error) {
	env, err := x.baseEnv(ctx, coderunner.RunScope)
	if err != nil {
		return nil, err
	}
	if _, set := env["NODE_ENV"]; !set {
		env["NODE_ENV"] = "production"
	}
	env["PORT"], env["HOST"], env["HOSTNAME"] = strconv.Itoa(x.deployment.Plan.Port), "0.0.0.0", "0.0.0.0"
	return env, nil
}
