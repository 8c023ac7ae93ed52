package playbook

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/analyzer"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/testdb"
)

const petsFile = `name: Pets
entities:
  Cat:
    properties:
      - name
      - { name: photo, type: image }
    policies:
      create: [{access: public}]
      read: [{access: public}]
  User:
    authenticable: true
    properties:
      - name
    policies:
      signup: [{access: public}]
endpoints:
  hello:
    path: /hello
    method: GET
    handler: hello
`

const petsHandler = "module.exports = async (req, res) => res.json({ hello: 'from a handler' });\n"

// backendTrial is a Manifest backend that was deployed from its one file.
type backendTrial struct {
	*testing.T
	p *platform
	s sample
}

// ask requests a path of the backend's URL with a JSON body, and reads the answer into into unless that is nil.
func (b *backendTrial) ask(method, path, token string, body, into any) (status int) {
	b.Helper()
	var payload bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&payload).Encode(body); err != nil {
			b.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(b.Context(), method, "http://"+b.p.address+path, &payload)
	if err != nil {
		b.Fatal(err)
	}
	req.Host = "pets.apps.test"
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			b.Fatalf("%s %s answers %d %.300q: %v", method, path, res.StatusCode, text, err)
		}
	}
	return res.StatusCode
}

// cats are the names of the rows that anybody may read.
func (b *backendTrial) cats() (names []string) {
	b.Helper()
	var page struct {
		Data []struct {
			Name string `json:"name"`
		} `json:"data"`
	}
	if status := b.ask(http.MethodGet, "/api/collections/cats", "", nil, &page); status != http.StatusOK {
		b.Fatalf("the cats are answered with %d", status)
	}
	for _, c := range page.Data {
		names = append(names, c.Name)
	}
	return names
}

func (b *backendTrial) wantCats(when string, want ...string) {
	b.Helper()
	if got := b.cats(); strings.Join(got, ",") != strings.Join(want, ",") {
		b.Errorf("%s the cats are %q, want %q", when, got, want)
	}
}

// logIn is the token of whoever has this login, "" if it is refused.
func (b *backendTrial) logIn(entity, email, password string) string {
	b.Helper()
	var answer struct {
		Token string `json:"token"`
	}
	b.ask(http.MethodPost, "/api/auth/"+entity+"/login", "", map[string]string{"email": email, "password": password}, &answer)
	return answer.Token
}

// TestManifest deploys a backend from its one file: what is in it, and who its administrator is,
// outlive everything but a destroy.
func TestManifest(t *testing.T) {
	t.Parallel()
	for name, databases := range map[string][]string{"SQLite": nil, "PostgreSQL": {"postgres-15"}, "MySQL": {"mysql"}} {
		t.Run(name, func(t *testing.T) {
			p := startPlatformIn(t, t.TempDir(), testdb.New(t), func(p *platform) { p.engine.cfg.HealthTimeout = time.Minute })
			p.builtTemplate(t, manifestAppliance)
			b := &backendTrial{T: t, p: p, s: p.uploadBackend(t, map[string]string{"manifest.yml": petsFile,
				"handlers/hello.js": petsHandler})}
			b.isAsExpected(databases)
		})
	}
}

// TestManifestThatIsCancelled once its administrator is made: the next deploy has the same one.
func TestManifestThatIsCancelled(t *testing.T) {
	t.Parallel()
	var stop trap
	p := startPlatformIn(t, t.TempDir(), testdb.New(t), func(p *platform) {
		p.engine.cfg.HealthTimeout, p.engine.breakpoint = time.Minute, stop.breakpoint
	})
	p.builtTemplate(t, manifestAppliance)
	b := &backendTrial{T: t, p: p, s: p.uploadBackend(t, map[string]string{"manifest.yml": petsFile, "handlers/hello.js": petsHandler})}
	reached, release := stop.set("admin", true)
	_, run := p.deploy(t, b.s)
	<-reached
	_, err := p.engine.Cancel(t.Context(), b.s.user.ID, run.ID)
	release()
	if run = p.ended(t, run.ID); err != nil || run.State != coderunner.RunCancelled {
		t.Fatalf("the deploy ended %s (%v)\n%s", run.State, err, p.logText(t, run.ID))
	}
	if status, _ := p.get(t, "pets", "/api/health"); status != http.StatusNotFound {
		t.Errorf("what was cancelled answers %d", status)
	}
	before, err := p.engine.RevealAdmin(t.Context(), b.s.user.ID, b.s.project.ID)
	if err != nil {
		t.Fatal(err)
	}
	p.succeeds(t, b.s)
	after, err := p.engine.RevealAdmin(t.Context(), b.s.user.ID, b.s.project.ID)
	if err != nil || after != before || b.logIn("admins", after.Email, after.Password) == "" {
		t.Errorf("the administrator is another one, or does not get in (%v)", err)
	}
}

// uploadBackend uploads files, and wants the plan that the analyzer makes of them.
func (p *platform) uploadBackend(t *testing.T, files map[string]string) sample {
	t.Helper()
	s, err := p.newSample(t.Context(), "pets", files)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if s.plan, err = analyzer.Analyze(os.DirFS(dir)); err != nil || s.plan.Type != "manifest" {
		t.Fatalf("the plan is %+v (%v)", s.plan, err)
	}
	return s
}

func (b *backendTrial) isAsExpected(databases []string) {
	run := b.p.succeeds(b.T, b.s, databases...)
	admin, err := b.p.engine.RevealAdmin(b.Context(), b.s.user.ID, b.s.project.ID)
	if err != nil || admin.Email != b.s.user.Email || len(admin.Password) < 20 {
		b.Fatalf("the administrator is %q with a password of %d (%v)", admin.Email, len(admin.Password), err)
	}
	if status := b.ask(http.MethodPost, "/api/auth/admins/signup", "", map[string]string{"email": "stranger@example.com", "password": "stranger"}, nil); status != http.StatusForbidden {
		b.Errorf("a stranger who wants to be administrator is answered %d", status)
	}
	token := b.logIn("admins", admin.Email, admin.Password)
	if token == "" || b.ask(http.MethodGet, "/api/collections/admins", token, nil, nil) != http.StatusOK {
		b.Error("the administrator does not get in")
	}
	if status, body := b.p.get(b.T, "pets", "/"); status != 200 || !strings.Contains(body, "<html") {
		b.Errorf("the admin panel answers %d %.100q", status, body)
	}
	if status, body := b.p.get(b.T, "pets", "/api/endpoints/hello"); status != 200 || !strings.Contains(body, "from a handler") {
		b.Errorf("the handler answers %d %.100q", status, body)
	}
	if status := b.ask(http.MethodPost, "/api/collections/cats", "", map[string]string{"name": "Tom"}, nil); status != http.StatusCreated {
		b.Fatalf("a new cat is answered %d", status)
	}
	if status := b.ask(http.MethodPost, "/api/auth/users/signup", "", map[string]string{"email": "user@example.com", "password": "secret-of-user"}, nil); status != http.StatusCreated {
		b.Errorf("the sign-up of a user is answered %d", status)
	}
	b.wantSecretsHidden(run, admin)
	b.wantAdminKept()
	b.wantRunnerRefuses()

	again := b.p.succeeds(b.T, b.s)
	b.wantCats("after a redeploy", "Tom")
	b.wantDropsConfirmed()
	if b.ask(http.MethodGet, "/api/collections/admins", token, nil, nil) != http.StatusOK {
		b.Error("who was logged in before a redeploy is not any more")
	}
	b.wantSecretsHidden(again, admin)
	stop, err := b.p.engine.StopApp(b.Context(), b.s.user.ID, b.s.project.ID, true)
	b.p.succeeded(b.T, stop, err)
	start, err := b.p.engine.StartApp(b.Context(), b.s.user.ID, b.s.project.ID)
	b.p.succeeded(b.T, start, err)
	b.wantCats("after a stop and a start", "Tom")
	restart, err := b.p.engine.RestartApp(b.Context(), b.s.user.ID, b.s.project.ID)
	b.p.succeeded(b.T, restart, err)
	b.wantCats("after a restart", "Tom")
	if b.logIn("admins", admin.Email, admin.Password) == "" {
		b.Error("after a restart the administrator does not get in")
	}
	owned, err := b.p.store.OwnedVolumes(b.Context())
	volumes, listErr := b.p.provider.ListVolumes(b.Context(), ProjectLabels(b.s.project.ID))
	if err != nil || listErr != nil || len(volumes) != 1+len(databases) {
		b.Errorf("the volumes are %+v (%v, %v)", volumes, err, listErr)
	}
	for _, v := range volumes {
		if !owned[v.Name] {
			b.Errorf("the volume %s is taken for one that no project has", v.Name)
		}
	}
	destroy, err := b.p.engine.Destroy(b.Context(), b.s.user.ID, b.s.project.ID, "pets")
	b.p.succeeded(b.T, destroy, err)
	b.p.nothingLeft(b.T)
	if _, err := b.p.store.ProjectBackend(b.Context(), b.s.project.ID); coderunner.KindOf(err) != coderunner.NotFound {
		b.Errorf("its secrets are left (%v)", err)
	}
}

// wantAdminKept asks once more, as a run does that was cut off in the middle, and as one whose
// administrator is somebody else.
func (b *backendTrial) wantAdminKept() {
	b.Helper()
	current := b.p.current(b.T, b.s)
	address, err := b.p.provider.Address(b.Context(), current.AppSandboxID, current.Plan.Port)
	if err != nil {
		b.Fatal(err)
	}
	_, secrets, err := b.p.engine.backend(b.Context(), b.s.project.ID)
	if err != nil {
		b.Fatal(err)
	}
	m := manifestAPI{client: probeClient(address.Proxy), url: "http://pets.apps.test/api"}
	if state, made, err := m.ensureAdmin(b.Context(), secrets); state != coderunner.AdminCreated || made || err != nil {
		b.Errorf("asked once more, the administrator is %q, made %v (%v)", state, made, err)
	}
	secrets.AdminPassword = "changed in the admin panel"
	if state, made, err := m.ensureAdmin(b.Context(), secrets); state != coderunner.AdminForeign || made || err != nil {
		b.Errorf("with another password the administrator is %q, made %v (%v)", state, made, err)
	}
}

// wantRunnerRefuses what would lose data or never start, in words.
func (b *backendTrial) wantRunnerRefuses() {
	b.Helper()
	name := b.p.current(b.T, b.s).AppSandboxID
	for what, c := range map[string]struct {
		dir, script, want string
		env               map[string]string
	}{
		"drop":     {"/app", "manifest-runner manifest.yml", "Manifest would delete all data at each start", map[string]string{"DB_DROP_SCHEMA": "true"}},
		"no file":  {"/app", "manifest-runner other.yml", "there is no file other.yml", nil},
		"no key":   {"/app", "manifest-runner manifest.yml", "TOKEN_SECRET_KEY is missing", nil},
		"oracle":   {"/app", "manifest-runner manifest.yml", "Manifest knows postgres, mysql and sqlite", map[string]string{"TOKEN_SECRET_KEY": "k", "DB_CONNECTION": "oracle"}},
		"nowhere":  {"/app", "manifest-runner manifest.yml", "there is no such database", map[string]string{"TOKEN_SECRET_KEY": "k", "DB_CONNECTION": "postgres"}},
		"another":  {"/tmp", "touch a.yml && mkdir -p node_modules/manifest && manifest-runner a.yml; rm -r node_modules; exit 1", "it is not the backend manifest 4", map[string]string{"TOKEN_SECRET_KEY": "k"}},
		"your own": {"/tmp", "touch a.yml && d=node_modules/manifest/dist/manifest/src && mkdir -p $d && echo 'console.log(`own ${process.env.MANIFEST_FILE_PATH}`)' > $d/main.js && manifest-runner a.yml; ls -d .manifest; rm -r node_modules; exit 1", "own /tmp/a.yml\n.manifest\n", map[string]string{"TOKEN_SECRET_KEY": "k"}},
	} {
		var out strings.Builder
		exit, err := b.p.provider.Exec(b.Context(), name, sandbox.Command{Argv: []string{"/bin/sh", "-c", c.script}, Dir: c.dir, Env: c.env, Stdout: &out, Stderr: &out})
		if err != nil || exit.Code != 1 || !strings.Contains(out.String(), c.want) {
			b.Errorf("%s: it ended with %d and %q (%v), want %q", what, exit.Code, out.String(), err, c.want)
		}
	}
}

// wantDropsConfirmed deploys a file that has lost a property: not before that was confirmed.
func (b *backendTrial) wantDropsConfirmed() {
	b.Helper()
	fewer, err := b.p.newBundle(b.Context(), b.s.project.ID, map[string]string{"manifest.yml": strings.Replace(petsFile, "      - { name: photo, type: image }\n", "", 1),
		"handlers/hello.js": petsHandler}, b.s.plan)
	if err != nil {
		b.Fatal(err)
	}
	drops, err := b.p.engine.Drops(b.Context(), b.s.user.ID, b.s.project.ID, fewer.ID, b.s.plan)
	if err != nil || len(drops) != 1 || drops[0] != (coderunner.Drop{Entity: "Cat", Property: "photo"}) {
		b.Fatalf("a property less drops %+v (%v)", drops, err)
	}
	req := DeployRequest{ProjectID: b.s.project.ID, BundleID: fewer.ID, Plan: b.s.plan}
	if _, _, err := b.p.engine.Deploy(b.Context(), b.s.user.ID, req); coderunner.KindOf(err) != coderunner.Invalid || !strings.Contains(err.Error(), "photo of Cat") {
		b.Errorf("without a word about it, the deploy is answered %v", err)
	}
	req.AcceptDrops = true
	_, run, err := b.p.engine.Deploy(b.Context(), b.s.user.ID, req)
	b.p.succeeded(b.T, run, err)
	b.wantCats("with a property less", "Tom")
	var page struct {
		Data []map[string]any `json:"data"`
	}
	if b.ask(http.MethodGet, "/api/collections/cats", "", nil, &page); len(page.Data) != 1 {
		b.Fatalf("there are %d cats", len(page.Data))
	} else if _, has := page.Data[0]["photo"]; has {
		b.Errorf("the cat still has its photo: %v", page.Data[0])
	}
}

// wantSecretsHidden wants neither the password nor the key in the run's log.
func (b *backendTrial) wantSecretsHidden(run coderunner.Run, admin coderunner.AdminLogin) {
	b.Helper()
	_, secrets, err := b.p.engine.backend(b.Context(), b.s.project.ID)
	if err != nil {
		b.Fatal(err)
	}
	text := b.p.logText(b.T, run.ID)
	for _, secret := range []string{admin.Password, secrets.TokenKey} {
		if secret == "" || strings.Contains(text, secret) {
			b.Errorf("the log has %q", secret)
		}
	}
	if !strings.Contains(text, "administrator "+admin.Email) {
		b.Errorf("the log does not tell of the administrator:\n%s", text)
	}
}
