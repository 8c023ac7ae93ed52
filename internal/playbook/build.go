package playbook

import (
	"context"
	"maps"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/diagnosis"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// buildTime bounds one install or build command.
const buildTime = 30 * time.Minute

// uploadBundle unpacks the code in the sandbox.
func uploadBundle(ctx context.Context, st *step) error {
	if err := st.become(ctx, coderunner.Building); err != nil {
		return err
	}
	bundle, err := st.e.store.BundleByID(ctx, st.deployment.BundleID)
	if err != nil {
		return err
	}
	tar, err := st.e.bundles.Open(bundle.SHA256)
	if err != nil {
		return err
	}
	defer tar.Close()
	if err := st.e.provider.Upload(ctx, st.appSandbox(), "/app", tar); err != nil {
		return err
	}
	st.say("Copied %s of %s.", countNoun(bundle.Files, "file"), bundle.Filename)
	return nil
}

func install(ctx context.Context, st *step) error {
	return st.runCommand(ctx, st.deployment.Plan.Install.Value)
}

func build(ctx context.Context, st *step) error {
	return st.runCommand(ctx, st.deployment.Plan.Build.Value)
}

// runCommand runs one of the plan's commands in the sandbox's own shell, as the sandbox's user.
func (st *step) runCommand(ctx context.Context, command string) error {
	env, err := st.buildEnv(ctx)
	if err != nil {
		return err
	}
	st.say("$ %s", command)
	stdout, stderr := st.log.Stream(st.Name, coderunner.Stdout), st.log.Stream(st.Name, coderunner.Stderr)
	exit, err := st.e.provider.Exec(ctx, st.appSandbox(), sandbox.Command{ID: st.Name, Argv: []string{"/bin/sh", "-c", command}, Dir: appDir(st.deployment.Plan), Env: env,
		Stdout: stdout, Stderr: stderr, Timeout: buildTime})
	stdout.Close()
	stderr.Close()
	if err != nil {
		return err
	}
	if exit.Code == 0 {
		return nil
	}
	return st.diagnose(ctx, diagnosis.Evidence{Step: st.Name, Command: command, ExitCode: exit.Code, Signal: exit.Signal, OOMKilled: exit.OOMKilled, TimedOut: exit.TimedOut, Timeout: buildTime})
}

// diagnose turns evidence into the failure that ends the run.
func (st *step) diagnose(ctx context.Context, ev diagnosis.Evidence) error {
	lines, err := st.lastLines(ctx)
	if err != nil {
		return err
	}
	ev.Lines, ev.Plan = lines, st.deployment.Plan
	failure := diagnosis.Diagnose(ev)
	return &failure
}

// lastLines are the last lines that the user's program printed in the step, already redacted.
func (st *step) lastLines(ctx context.Context) ([]string, error) {
	if err := st.log.Flush(ctx); err != nil {
		return nil, err
	}
	last, err := st.e.store.LastLogSeq(ctx, st.run.ID)
	if err != nil {
		return nil, err
	}
	page, err := st.e.store.LogBefore(ctx, st.run.ID, last+1, 400)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, l := range page {
		if l.Step == st.Name && l.Stream != coderunner.System {
			lines = append(lines, l.Text)
		}
	}
	return lines[max(0, len(lines)-200):], nil
}

// baseEnv is what every command of a phase gets: the project's variables and its databases.
func (x *execution) baseEnv(ctx context.Context, phase coderunner.VariableScope) (map[string]string, error) {
	env := map[string]string{}
	databases, err := x.e.store.ProjectDatabases(ctx, x.project.ID)
	if err != nil {
		return nil, err
	}
	for _, d := range databases {
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
		maps.Copy(env, connectionEnv(c))
	}
	maps.Copy(env, x.variables.Environment(phase))
	dir := appDir(x.deployment.Plan)
	env["PATH"] = dir + "/node_modules/.bin:/app/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	return env, nil
}

// connectionEnv gives a PostgreSQL connection the names that libpq and the frameworks read.
func connectionEnv(c coderunner.Connection) map[string]string {
	port := strconv.Itoa(c.Port)
	dsn := url.URL{Scheme: "postgres", User: url.UserPassword(c.User, c.Password), Host: net.JoinHostPort(c.Host, port), Path: "/" + c.Database}
	return map[string]string{"DATABASE_URL": dsn.String(), "PGHOST": c.Host, "PGPORT": port, "PGUSER": c.User, "PGPASSWORD": c.Password, "PGDATABASE": c.Database}
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
	}
	for k, v := range defaults {
		if _, set := env[k]; !set {
			env[k] = v
		}
	}
	return env, nil
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
