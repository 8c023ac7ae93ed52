package app

import (
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
	"github.com/coderunner/coderunner/internal/testupstream"
)

// TestSourcesAreCheckedAtTheStart, before anything is made.
func TestSourcesAreCheckedAtTheStart(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*Config)
		says   string
	}{
		{func(c *Config) { c.Sources.NPMRegistry = "npm.example.com" }, "--npm-registry cannot be used"},
		{func(c *Config) { c.CABundle = empty }, "has no certificate in it"},
		{func(c *Config) { c.CABundle = "/nowhere/bundle.pem" }, "cannot be read"},
		{func(c *Config) { c.CABundle = "bundle.pem" }, "not an absolute path"},
	} {
		config := DefaultConfig()
		config.DataDir = filepath.Join(t.TempDir(), "data")
		c.change(&config)
		for what, do := range map[string]func(context.Context) error{
			"serve":          func(ctx context.Context) error { return Run(ctx, config, nil, io.Discard) },
			"doctor":         func(ctx context.Context) error { return Doctor(ctx, config, io.Discard) },
			"building ahead": func(ctx context.Context) error { return BuildTemplates(ctx, config, nil, io.Discard) },
		} {
			if err := do(t.Context()); coderunner.KindOf(err) != coderunner.Invalid || !strings.Contains(coderunner.Sentence(err), c.says) {
				t.Errorf("%s answers %v, want %q", what, err, c.says)
			}
		}
		if _, err := os.Stat(config.DataDir); !os.IsNotExist(err) {
			t.Errorf("the data directory was made all the same (%v)", err)
		}
	}
}

// told is what the doctor says about sources, by what it looked at.
func told(t *testing.T, config Config) map[string]string {
	t.Helper()
	said := map[string]string{}
	checkSources(t.Context(), config, []string{"bookworm"}, func(what string, err error) {
		said[what] = "well"
		if err != nil {
			said[what] = coderunner.Sentence(err)
		}
		if strings.Contains(what+said[what], "hunter2") || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %s: %v", what, err)
		}
	})
	return said
}

func TestDoctorTriesSources(t *testing.T) {
	t.Parallel()
	u := testupstream.New(t)
	u.User, u.Password = "ann", "hunter2home"
	at, bare := u.WithCredentials(), u.URL
	sources := coderunner.Sources{NPMRegistry: at, PythonIndex: at + "/simple", AptMirror: at + "/debian", GoProxy: at + "/go,direct"}
	for what, said := range told(t, Config{Sources: sources}) {
		if said != "well" {
			t.Errorf("%s: %s", what, said)
		}
	}
	if n := u.Requests(""); n != 5 {
		t.Errorf("%d requests were made, want one for each source and one for security updates", n)
	}
	own := httptest.NewServer(http.NotFoundHandler())
	defer own.Close()
	for _, c := range []struct {
		sources    coderunner.Sources
		what, says string
	}{
		{coderunner.Sources{NPMRegistry: bare}, "the npm registry " + bare, "It refuses the request (401 Unauthorized). Write the credentials into the address that --npm-registry has"},
		{coderunner.Sources{PythonIndex: at + "/index"}, "the Python index " + bare + "/index", "It does not have the package pip"},
		{coderunner.Sources{AptMirror: at + "/ubuntu"}, "the Debian mirror " + bare + "/ubuntu-security", "the security updates of Debian bookworm"},
		{coderunner.Sources{NPMRegistry: "http://" + strings.TrimPrefix(own.URL, "http://")}, "the npm registry " + own.URL, "is this machine, whose services sandboxes do not reach"},
		{coderunner.Sources{GoProxy: "https://go.invalid"}, "the Go proxy https://go.invalid", "The name go.invalid is not known"},
		{coderunner.Sources{HTTPProxy: "http://proxy.invalid:3128"}, "the proxy http://proxy.invalid:3128", "The name proxy.invalid is not known"},
		{coderunner.Sources{HTTPProxy: bare}, "the proxy " + bare, "It wants other credentials"},
		{coderunner.Sources{HTTPProxy: at}, "the proxy " + bare, "well"},
		{coderunner.Sources{HTTPProxy: own.URL}, "the proxy " + own.URL, "is this machine"},
		{coderunner.Sources{HTTPProxy: strings.Replace(bare, bare[strings.LastIndexByte(bare, ':'):], ":1", 1)}, "", "It cannot be reached. Correct the address that --http-proxy has"},
	} {
		said := told(t, Config{Sources: c.sources})
		if c.what == "" {
			for c.what = range said {
			}
		}
		if !strings.Contains(said[c.what], c.says) {
			t.Errorf("%s is said to be %q, want %q", c.what, said, c.says)
		}
	}
}

// TestCertificatesOfACompany are trusted once they are given, and asked for until then.
func TestCertificatesOfACompany(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkBundle(bundle); err != nil {
		t.Fatal(err)
	}
	for file, says := range map[string]string{"": "Give a file with that authority's certificate as --ca-bundle.", bundle: ""} {
		client, err := containerd.SourceClient(coderunner.Sources{}, file)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Get(server.URL)
		if err == nil {
			res.Body.Close()
		} else {
			err = sourceCheck{flag: "--npm-registry"}.unreachable(err)
		}
		if (err != nil) != (says != "") || err != nil && !strings.Contains(coderunner.Sentence(err), says) {
			t.Errorf("with the bundle %q: %v", file, err)
		}
	}
}
