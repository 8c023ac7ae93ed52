package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/api"
)

// Client is one user of the API, and of the apps and pages beside it. Every
// request goes to the server's address, whatever the host it names.
type Client struct {
	port  string
	http  *http.Client
	token string
}

// NewClient talks to the server on that port of 127.0.0.1. It keeps cookies, as a browser does.
func NewClient(port string) (*Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{MaxIdleConnsPerHost: 8, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}}
	follow := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{port: port, http: &http.Client{Transport: transport, Jar: jar, CheckRedirect: follow}}, nil
}

// Register makes an account and goes on as it.
func (c *Client) Register(ctx context.Context, email, password string) error {
	var in api.LoggedIn
	err := c.call(ctx, http.MethodPost, "/auth/register", map[string]string{"email": email, "password": password}, &in)
	c.token = in.AccessToken
	return err
}

// LogIn goes on as an account that exists, with fresh tokens.
func (c *Client) LogIn(ctx context.Context, email, password string) error {
	var in api.LoggedIn
	err := c.call(ctx, http.MethodPost, "/auth/login", map[string]string{"email": email, "password": password}, &in)
	c.token = in.AccessToken
	return err
}

// CreateProject makes a project.
func (c *Client) CreateProject(ctx context.Context, name string) (p api.Project, err error) {
	return p, c.call(ctx, http.MethodPost, "/projects", map[string]string{"name": name}, &p)
}

// Upload sends a tar of a source tree; the answer has the plan.
func (c *Client) Upload(ctx context.Context, projectID, filename string, tar []byte) (b api.Bundle, err error) {
	return b, c.call(ctx, http.MethodPost, "/projects/"+projectID+"/bundles?filename="+url.QueryEscape(filename), tar, &b)
}

// SetVariables gives install and build commands the variables, in plain sight.
func (c *Client) SetVariables(ctx context.Context, projectID string, values map[string]string) error {
	plain, changes := false, []api.NamedVariableChange{}
	for key, value := range values {
		changes = append(changes, api.NamedVariableChange{Key: key, VariableChange: api.VariableChange{Value: &value, Secret: &plain, Scope: "build"}})
	}
	return c.call(ctx, http.MethodPatch, "/projects/"+projectID+"/variables", map[string]any{"variables": changes}, &api.VariableList{})
}

// Deployment is what to deploy: a bundle, with changes of its plan.
type Deployment struct {
	BundleID  string           `json:"bundle_id"`
	Plan      *api.PlanChanges `json:"plan,omitempty"`
	Databases []string         `json:"databases"`
}

// Deploy presses Deploy.
func (c *Client) Deploy(ctx context.Context, projectID string, d Deployment) (s api.StartedDeployment, err error) {
	if d.Databases == nil {
		d.Databases = []string{}
	}
	return s, c.call(ctx, http.MethodPost, "/projects/"+projectID+"/deployments", d, &s)
}

// Rollback begins to bring an earlier deployment's release back.
func (c *Client) Rollback(ctx context.Context, deploymentID string) (s api.StartedDeployment, err error) {
	return s, c.call(ctx, http.MethodPost, "/deployments/"+deploymentID+"/rollback", nil, &s)
}

// Restart begins to run the project's current deployment in a new sandbox.
func (c *Client) Restart(ctx context.Context, projectID string) (r api.Run, err error) {
	return r, c.call(ctx, http.MethodPost, "/projects/"+projectID+"/restart", nil, &r)
}

// Destroy begins the end of a project with all its data.
func (c *Client) Destroy(ctx context.Context, projectID, name string) (r api.Run, err error) {
	return r, c.call(ctx, http.MethodDelete, "/projects/"+projectID, map[string]string{"confirm": name}, &r)
}

// Project reads a project.
func (c *Client) Project(ctx context.Context, id string) (p api.ProjectDetail, err error) {
	return p, c.call(ctx, http.MethodGet, "/projects/"+id, nil, &p)
}

// Run reads a run with its steps.
func (c *Client) Run(ctx context.Context, id string) (r api.Run, err error) {
	return r, c.call(ctx, http.MethodGet, "/runs/"+id, nil, &r)
}

// call asks the API. A []byte is sent as it is, anything else as JSON.
func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	var sent io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case []byte:
		sent, kind = bytes.NewReader(b), "application/x-tar"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	res, err := c.Do(ctx, method, "localhost", api.Prefix+path, sent, "Content-Type", kind)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 400 {
		return fmt.Errorf("%s %s answers %d: %s", method, path, res.StatusCode, detail(text))
	}
	return json.Unmarshal(text, answer)
}

// detail is a problem document's sentence.
func detail(text []byte) string {
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(text, &problem) == nil && problem.Detail != "" {
		return problem.Detail
	}
	return string(text)
}

// Do sends any request, with the access token if it is one for the API.
func (c *Client) Do(ctx context.Context, method, host, path string, body io.Reader, headers ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+net.JoinHostPort(host, c.port)+path, body)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if c.token != "" && strings.HasPrefix(path, api.Prefix+"/") {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.http.Do(req)
}

// Get reads a path of a host to its end.
func (c *Client) Get(ctx context.Context, host, path string) (status int, body string, err error) {
	res, err := c.Do(ctx, http.MethodGet, host, path, nil)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// Await requests a path of a host every 5 ms until it answers 200, and returns when that was.
func (c *Client) Await(ctx context.Context, host, path string) (time.Time, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if status, _, err := c.Get(ctx, host, path); err == nil && status == http.StatusOK {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, errors.Join(fmt.Errorf("http://%s%s did not answer 200", net.JoinHostPort(host, c.port), path), ctx.Err())
		case <-tick.C:
		}
	}
}
