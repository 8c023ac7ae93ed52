package playbook

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// manifestAppliance runs Manifest, the backend of one file.
const manifestAppliance = "manifest-runner"

func onManifest(plan coderunner.Plan) bool {
	return plan.Runtime.Appliance == manifestAppliance && !plan.Static()
}

// backendName binds the ciphertext of a backend's secrets, of which a project has one.
const backendName = "backend"

// ensureBackend records the volume and the secrets of a project on Manifest, in the transaction that
// begins its deployment. They are made once: log-ins of the backend's users stay valid, and the
// administrator's password is kept before anybody is told it.
func (e *Engine) ensureBackend(ctx context.Context, s *store.Store, project coderunner.Project, plan coderunner.Plan) error {
	if !onManifest(plan) {
		return nil
	}
	owner, err := s.UserByID(ctx, project.UserID)
	if err != nil {
		return err
	}
	plain, err := json.Marshal(coderunner.BackendSecrets{TokenKey: rand.Text() + rand.Text(), AdminEmail: adminEmail(owner.Email), AdminPassword: rand.Text()})
	if err != nil {
		return err
	}
	sealed, err := e.keys.Seal(project.ID, backendName, plain)
	if err != nil {
		return err
	}
	return s.EnsureBackend(ctx, project.ID, "app-data-"+project.ID, sealed)
}

// adminEmail is the owner's address where Manifest takes it: it wants a domain with a dot.
func adminEmail(owner string) string {
	if _, domain, _ := strings.Cut(owner, "@"); strings.Contains(domain, ".") {
		return owner
	}
	return "admin@manifest.local"
}

// backend reads a project's backend and opens its secrets. NotFound for a project that has none.
func (e *Engine) backend(ctx context.Context, projectID string) (coderunner.Backend, coderunner.BackendSecrets, error) {
	var secrets coderunner.BackendSecrets
	b, err := e.store.ProjectBackend(ctx, projectID)
	if err != nil {
		return b.Backend, secrets, err
	}
	plain, err := e.keys.Open(projectID, backendName, b.Sealed)
	if err != nil {
		return b.Backend, secrets, err
	}
	return b.Backend, secrets, json.Unmarshal(plain, &secrets)
}

// backendEnv is what Manifest needs beside its databases; nothing for another app.
func (x *execution) backendEnv(ctx context.Context) (map[string]string, error) {
	if !onManifest(x.deployment.Plan) {
		return nil, nil
	}
	_, secrets, err := x.e.backend(ctx, x.project.ID)
	if err != nil {
		return nil, err
	}
	_, url := x.e.cfg.PublicURL(x.project.Slug)
	return map[string]string{"TOKEN_SECRET_KEY": secrets.TokenKey, "BASE_URL": url}, nil
}

// appVolumes is what an app keeps beside its databases; nothing for most.
func (x *execution) appVolumes(ctx context.Context) ([]sandbox.Mount, error) {
	if !onManifest(x.deployment.Plan) {
		return nil, nil
	}
	def, err := x.e.serving(x.deployment.Plan)
	if err != nil {
		return nil, err
	}
	b, err := x.e.store.ProjectBackend(ctx, x.project.ID)
	if err != nil {
		return nil, err
	}
	return []sandbox.Mount{{Volume: b.Volume, Path: def.VolumePath, Labels: ProjectLabels(x.project.ID)}}, nil
}

// ensureAdmin makes the backend's first administrator before the URL points at it: Manifest gives
// that place to whoever asks first while there is no data. What it says then is written down.
func ensureAdmin(ctx context.Context, st *step) error {
	before, secrets, err := st.e.backend(ctx, st.project.ID)
	if err != nil {
		return err
	}
	address, err := st.e.provider.Address(ctx, st.appSandbox(), st.deployment.Plan.Port)
	if err != nil {
		return err
	}
	host, _ := st.e.cfg.PublicURL(st.project.Slug)
	m := manifestAPI{client: probeClient(address.Proxy), url: "http://" + host + "/api"}
	state, made, err := m.ensureAdmin(ctx, secrets)
	if err != nil {
		if ended := st.stillRuns(ctx); ended != nil {
			return ended
		}
		return err
	}
	switch {
	case made:
		st.say("Made the administrator %s. The project's page has the password.", secrets.AdminEmail)
	case state == coderunner.AdminCreated:
		st.say("The administrator %s is there.", secrets.AdminEmail)
	default:
		st.say("There is data already, and CodeRunner's login does not open the admin panel: another administrator was made, or the password was changed.")
	}
	if state == before.Admin {
		return nil
	}
	return st.guarded(ctx, func(s *store.Store) error { return s.SetBackendAdmin(ctx, st.project.ID, state) })
}

// manifestAPI is a running Manifest, asked without the edge.
type manifestAPI struct {
	client *http.Client
	url    string
}

// ensureAdmin answers whether our login opens the backend, and whether it was made just now.
// It may be called again after any error.
func (m manifestAPI) ensureAdmin(ctx context.Context, secrets coderunner.BackendSecrets) (state coderunner.AdminState, made bool, err error) {
	var data struct {
		Empty *bool `json:"empty"`
	}
	status, err := m.ask(ctx, http.MethodGet, "/db/is-db-empty", nil, &data)
	if err != nil {
		return "", false, err
	}
	if status != http.StatusOK || data.Empty == nil {
		return "", false, fmt.Errorf("asked whether it has data, Manifest answered %d", status)
	}
	login := map[string]string{"email": secrets.AdminEmail, "password": secrets.AdminPassword}
	if *data.Empty {
		if status, err = m.ask(ctx, http.MethodPost, "/auth/admins/signup", login, nil); err != nil {
			return "", false, err
		}
		if status != http.StatusCreated {
			return "", false, fmt.Errorf("asked for an administrator, Manifest answered %d", status)
		}
		return coderunner.AdminCreated, true, nil
	}
	status, err = m.ask(ctx, http.MethodPost, "/auth/admins/login", login, nil)
	switch {
	case err != nil:
		return "", false, err
	case status == http.StatusCreated || status == http.StatusOK:
		return coderunner.AdminCreated, false, nil
	case status == http.StatusUnauthorized:
		return coderunner.AdminForeign, false, nil
	}
	return "", false, fmt.Errorf("asked for a login, Manifest answered %d", status)
}

// askManifest bounds one question.
const askManifest = 10 * time.Second

func (m manifestAPI) ask(ctx context.Context, method, path string, body any, into any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, askManifest)
	defer cancel()
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, m.url+path, payload)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := m.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if into == nil {
		return res.StatusCode, nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(into); err != nil {
		return res.StatusCode, fmt.Errorf("reading what Manifest answers to %s: %w", path, err)
	}
	return res.StatusCode, nil
}

// Backend is what a user's project on Manifest has beside its deployments, nil for another project.
func (e *Engine) Backend(ctx context.Context, userID, projectID string) (*coderunner.Backend, error) {
	project, err := e.store.Project(ctx, userID, projectID)
	if err != nil {
		return nil, err
	}
	b, err := e.store.ProjectBackend(ctx, project.ID)
	if coderunner.KindOf(err) == coderunner.NotFound {
		return nil, nil
	}
	return &b.Backend, err
}

// RevealAdmin answers the login of a backend's administrator, and keeps a record that it was
// asked for. NotFound where there is none of ours.
func (e *Engine) RevealAdmin(ctx context.Context, userID, projectID string) (login coderunner.AdminLogin, err error) {
	project, err := e.store.Project(ctx, userID, projectID)
	if err != nil {
		return login, err
	}
	b, secrets, err := e.backend(ctx, project.ID)
	if coderunner.KindOf(err) == coderunner.NotFound || err == nil && b.Admin == coderunner.AdminPending {
		return login, coderunner.Errorf(coderunner.NotFound, "CodeRunner has made no administrator for this project. It does when a Manifest backend starts for the first time.")
	}
	if err != nil {
		return login, err
	}
	if err := e.store.Audit(ctx, store.AuditEvent{UserID: userID, ProjectID: project.ID, Action: "backend.reveal_admin"}); err != nil {
		return login, err
	}
	return coderunner.AdminLogin{Email: secrets.AdminEmail, Password: secrets.AdminPassword}, nil
}
