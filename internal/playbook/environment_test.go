package playbook

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/testdb"
)

// showsEnv answers its own environment, and the one that its build had.
const showsEnv = `
const fs = require("node:fs");
require("node:http").createServer((req, res) => {
  res.end(req.url === "/build" ? fs.readFileSync("build.json") : JSON.stringify(process.env));
}).listen(process.env.PORT);
`

const keepsEnv = `node -e 'require("fs").writeFileSync("build.json", JSON.stringify(process.env))'`

func (p *platform) set(t *testing.T, s sample, variables ...coderunner.Variable) {
	t.Helper()
	projects := project.New(p.store, p.bundles, p.engine.keys)
	var edits []project.VariableEdit
	for i, v := range variables {
		edits = append(edits, project.VariableEdit{Key: v.Key, Value: &variables[i].Value, Secret: &variables[i].Secret, Scope: v.Scope})
	}
	if err := projects.EditVariables(t.Context(), s.user.ID, s.project.ID, edits); err != nil {
		t.Fatal(err)
	}
}

func (p *platform) env(t *testing.T, slug, path string) map[string]string {
	t.Helper()
	var env map[string]string
	status, body := p.get(t, slug, path)
	if err := json.Unmarshal([]byte(body), &env); err != nil || status != 200 {
		t.Fatalf("%s answers %d %.200q: %v", path, status, body, err)
	}
	return env
}

// Whatever a value is, build and app find exactly its bytes in their environment.
func TestValuesArriveByteForByte(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "bytes", showsEnv)
	s.plan.Start.Value = "node index.js"
	s.plan.Build.Value = keepsEnv
	want := map[string]string{
		"DOLLAR": "$HOME ${PATH} $(touch /tmp/pwned) `id` $$", "QUOTES": `'"'"'\"\'` + "`", "LINES": "a\nb\r\nc\r\n\n", "EQUALS": "=a==b=", "EMPTY": "", "SPACES": "  \t ",
		"UNICODE": "äöü 日本語 🚀 \u202e\u2028\ufeff\u0301", "CONTROL": "\x01\x1b[31m\x7f\b", "GLOB": "* ? [a-z] ~ ! # % & | ; < >", "LONG": strings.Repeat("é", coderunner.MaxVariableValue/2),
		"BACKSLASH": `\n\\n\`, "JSON": `{"a":"b\"c"}`, "DASH": "--version", "lower_case": "1", "_UNDER": "2", "A1": "3",
		"NODE_OPTIONS": "--no-warnings --max-old-space-size=256", "PYTHONSTARTUP": "/nowhere", "BASH_ENV": "/nowhere", "ENV": "/nowhere", "NODE_ENV": "staging",
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 60 {
		want[fmt.Sprint("RANDOM_", i)] = randomText(random)
	}
	var variables []coderunner.Variable
	for key, value := range want {
		variables = append(variables, coderunner.Variable{Key: key, Value: value, Secret: random.IntN(2) == 0})
	}
	p.set(t, s, variables...)
	p.succeeds(t, s)
	for what, env := range map[string]map[string]string{"app": p.env(t, "bytes", "/"), "build": p.env(t, "bytes", "/build")} {
		for key, value := range want {
			if got, set := env[key]; !set || got != value {
				t.Errorf("the %s has %s = %.80q, want %.80q", what, key, got, value)
			}
		}
	}
}

// randomText is any text that a variable can be: UTF-8 without NUL.
func randomText(random *rand.Rand) string {
	var b strings.Builder
	for range random.IntN(200) {
		r := rune(1 + random.IntN(0x7f))
		switch random.IntN(4) {
		case 0:
			r = rune(1 + random.IntN(0xd7ff))
		case 1:
			r = rune(0xe000 + random.IntN(0x10ffff-0xe000))
		}
		b.WriteRune(r)
	}
	return b.String()
}

// The most that a project may set fits into what the kernel gives a process.
func TestTheMostThatMayBeSetArrives(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "most", showsEnv)
	s.plan.Start.Value = "node index.js"
	s.plan.Build.Value = keepsEnv
	const each = coderunner.MaxVariableValue - 64 // room for the names
	var variables []coderunner.Variable
	for i := range coderunner.MaxVariableBytes / coderunner.MaxVariableValue {
		variables = append(variables, coderunner.Variable{Key: fmt.Sprint("LARGE_", i), Value: strings.Repeat(string(rune('a'+i%26)), each), Secret: true})
	}
	p.set(t, s, variables...)
	p.succeeds(t, s)
	for what, env := range map[string]map[string]string{"app": p.env(t, "most", "/"), "build": p.env(t, "most", "/build")} {
		for _, v := range variables {
			if env[v.Key] != v.Value {
				t.Errorf("the %s has %d bytes in %s, want %d", what, len(env[v.Key]), v.Key, len(v.Value))
			}
		}
	}
}

func TestScopesKeepVariablesApart(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "scopes", showsEnv)
	s.plan.Start.Value = "node index.js"
	s.plan.Build.Value = keepsEnv
	p.set(t, s, coderunner.Variable{Key: "FOR_BUILD", Value: "1", Scope: coderunner.BuildScope}, coderunner.Variable{Key: "FOR_RUN", Value: "2", Scope: coderunner.RunScope}, coderunner.Variable{Key: "FOR_BOTH", Value: "3"})
	p.succeeds(t, s)
	app, build := p.env(t, "scopes", "/"), p.env(t, "scopes", "/build")
	_, leaked := app["FOR_BUILD"]
	_, early := build["FOR_RUN"]
	if leaked || early || app["FOR_RUN"] != "2" || app["FOR_BOTH"] != "3" || build["FOR_BUILD"] != "1" || build["FOR_BOTH"] != "3" {
		t.Errorf("the build has %v, the app %v", only(build, "FOR_"), only(app, "FOR_"))
	}
}

func only(env map[string]string, prefix string) map[string]string {
	env = maps.Clone(env)
	maps.DeleteFunc(env, func(key, _ string) bool { return !strings.HasPrefix(key, prefix) })
	return env
}

// With a key ring that is another's, damaged or gone, a deploy ends before it makes anything.
func TestSecretsThatDoNotOpenStopTheDeploy(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string]func(path string) error{
		"another ring": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			_, err := secret.Open(path)
			return err
		},
		"no ring":        os.Remove,
		"a damaged ring": func(path string) error { return os.WriteFile(path, []byte(`{"keyset": {`), 0o600) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := startPlatformIn(t, dir, testdb.New(t))
			s := p.upload(t, "sealed", answer)
			p.set(t, s, coderunner.Variable{Key: "TOKEN", Value: "canary", Secret: true})
			if err := spoil(filepath.Join(dir, "keyring")); err != nil {
				t.Fatal(err)
			}
			_, run := p.deploy(t, s, "postgres-15")
			if run = p.ended(t, run.ID); run.State != coderunner.RunFailed || run.Failure == nil || run.Failure.ID != "platform.decrypt" {
				t.Errorf("the run ended %s: %+v\n%s", run.State, run.Failure, p.logText(t, run.ID))
			}
			if infos, err := p.provider.List(t.Context(), nil); err != nil || len(infos) != 0 {
				t.Errorf("something was made before the secrets were read: %+v (%v)", infos, err)
			}
			if networks, err := p.provider.ListNetworks(t.Context()); err != nil || len(networks) != 0 {
				t.Errorf("something was made before the secrets were read: %+v (%v)", networks, err)
			}
		})
	}
}

// A secret is in the app's own processes and nowhere else: not in the log, however
// the app prints it, the platform's database, the data directory, what is kept of the
// deployment for the next ones, the engine's records or any command line.
func TestSecretsStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	dir, dsn := t.TempDir(), testdb.New(t)
	p := startPlatformIn(t, dir, dsn)
	const canary, plain = "canary-5bd1e995-s3cret", "plain-value-for-everyone"
	s := p.upload(t, "canary", showsEnv+`
const token = process.env.TOKEN;
console.log("token", token, JSON.stringify({ token }), encodeURIComponent(token), Buffer.from(token).toString("base64"), process.env.LEVEL);
console.error(token.slice(0, 9)); process.stdout.write(token.slice(0, 9)); setTimeout(() => console.log(token.slice(9)), 50);
`)
	s.plan.Start.Value = "node index.js"
	s.plan.Build.Value = keepsEnv + ` && echo "built with $TOKEN and $LEVEL" && env | grep -E "TOKEN|LEVEL" && rm build.json`
	p.set(t, s, coderunner.Variable{Key: "TOKEN", Value: canary, Secret: true}, coderunner.Variable{Key: "LEVEL", Value: plain})
	run := p.succeeds(t, s, "postgres-15")
	env := p.env(t, "canary", "/")
	if env["TOKEN"] != canary || env["PGPASSWORD"] == "" {
		t.Fatalf("the app has %v", env)
	}
	p.stop()
	log := p.logText(t, run.ID)
	if !strings.Contains(log, "built with •") || strings.Count(log, plain) < 2 {
		t.Errorf("the log hides too little, or what is no secret:\n%s", log)
	}
	dump, err := exec.CommandContext(t.Context(), "pg_dump", "--dbname="+dsn).Output()
	if err != nil || !strings.Contains(string(dump), "audit_events") {
		t.Fatalf("pg_dump: %v", err)
	}
	for what, value := range map[string]string{"the variable": canary, "the database's password": env["PGPASSWORD"]} {
		for form, text := range map[string]string{"": value, " in base64": base64.StdEncoding.EncodeToString([]byte(value))[:len(value)], " in hex": fmt.Sprintf("%x", value)} {
			if strings.Contains(log, text) {
				t.Errorf("%s%s is in the log:\n%s", what, form, log)
			}
			if strings.Contains(string(dump), text) {
				t.Errorf("%s%s is in the database", what, form)
			}
		}
		for _, path := range holding(t, dir, value) {
			t.Errorf("%s is in %s", what, path)
		}
		for _, records := range []string{"/run/coderunner", filepath.Join(engineDir(), "root", "io.containerd.metadata.v1.bolt"), filepath.Join(engineDir(), "root", "io.containerd.runtime.v2.task")} {
			for _, path := range holding(t, records, value) {
				t.Errorf("%s is in %s", what, path)
			}
		}
		for _, path := range p.keptWith(t, value) {
			t.Errorf("%s is in %s", what, path)
		}
		for _, process := range processesWith(t, value) {
			t.Errorf("%s is in process %s", what, process)
		}
	}
}

// holding lists the files below dir that have the text in them.
func holding(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			if entry != nil && entry.IsDir() && (entry.Name() == "rootfs" || entry.Name() == "output") {
				return fs.SkipDir // the app's own files, and what it printed as it printed it
			}
			return nil // gone meanwhile
		}
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), text) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

// keptWith lists the files with the text in them in each snapshot of the platform, and
// in what the app's sandbox has on disk. The engine must have been stopped: it removes
// what it does not know.
func (p *platform) keptWith(t *testing.T, text string) (found []string) {
	t.Helper()
	snapshots, err := p.provider.ListSnapshots(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var boxes []string
	kinds := map[string]bool{}
	for i, s := range snapshots {
		kind, _, _ := strings.Cut(s.Name, "-")
		kinds[kind] = true
		box := fmt.Sprint("look-", i)
		if _, err := p.provider.Create(t.Context(), sandbox.Spec{Name: box, Snapshot: s.Name}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := p.provider.Destroy(t.Context(), box); err != nil {
				t.Error(err)
			}
		}()
		boxes = append(boxes, box)
	}
	if !kinds["deps"] || !kinds["release"] {
		t.Errorf("the snapshots are %+v: this looks at the wrong things", snapshots)
	}
	running, err := p.provider.List(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range running {
		if strings.HasPrefix(info.Name, "app-") {
			boxes = append(boxes, info.Name)
		}
	}
	for _, box := range boxes {
		// The second pattern is in every root: without it, nothing was looked at.
		var out strings.Builder
		const look = `printf "%s\nroot:x:0:0\n" "$LOOK_FOR" | grep --recursive --files-with-matches --fixed-strings --no-messages --devices=skip --file=- /app /etc /home /opt /root /srv /tmp /usr/local /var`
		if _, err := p.provider.Exec(t.Context(), box, sandbox.Command{Argv: []string{"/bin/sh", "-c", look}, User: "root", Env: map[string]string{"LOOK_FOR": text}, Stdout: &out}); err != nil {
			t.Fatal(err)
		}
		looked := false
		for file := range strings.Lines(out.String()) {
			file = strings.TrimSpace(file)
			looked = looked || file == "/etc/passwd"
			if file != "/etc/passwd" && file != "/etc/passwd-" {
				found = append(found, box+file)
			}
		}
		if !looked {
			t.Errorf("%s was not looked through: %s", box, &out)
		}
	}
	return found
}

// processesWith lists the processes that have the text in their command line, and
// those outside of sandboxes that have it in their environment.
func processesWith(t *testing.T, text string) (found []string) {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(entries) == 0 {
		t.Fatalf("no processes: %v", err)
	}
	within := 0
	for _, dir := range entries {
		read := func(name string) string {
			b, _ := os.ReadFile(filepath.Join(dir, name)) // it may have ended
			return string(b)
		}
		if command := read("cmdline"); strings.Contains(command, text) {
			found = append(found, fmt.Sprintf("%s, command line %q", dir, command))
		}
		if !strings.Contains(read("environ"), text) {
			continue
		}
		if group := read("cgroup"); !strings.Contains(group, "coderunner") {
			found = append(found, fmt.Sprintf("%s, environment, cgroup %q", dir, group))
			continue
		}
		within++
	}
	if within == 0 {
		t.Error("not even the app's own process has it: this looks at the wrong things")
	}
	return found
}
