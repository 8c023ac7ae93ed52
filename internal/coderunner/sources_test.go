package coderunner

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestSourcesThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flag    string
		sources Sources
		says    string
	}{
		{"--npm-registry", Sources{NPMRegistry: "npm.example.com"}, "begins with http:// or https://"},
		{"--npm-registry", Sources{NPMRegistry: "https://user:hunter2hunter2%@npm.example.com"}, "begins with http"},
		{"--npm-registry", Sources{NPMRegistry: "ftp://npm.example.com"}, "begins with http"},
		{"--npm-registry", Sources{NPMRegistry: "https://npm.example.com/?token=hunter2hunter2"}, "more than a path"},
		{"--npm-registry", Sources{NPMRegistry: "http://localhost:4873"}, "localhost is another machine for each sandbox"},
		{"--python-index", Sources{PythonIndex: "http://127.0.0.1/simple"}, "127.0.0.1"},
		{"--python-index", Sources{PythonIndex: "https://pypi.example.com/sim ple"}, "begins with http"},
		{"--apt-mirror", Sources{AptMirror: "http://mirror.example.com/debian\nTypes: deb-src"}, "begins with http"},
		{"--go-proxy", Sources{GoProxy: "https://go.example.com,later"}, "begins with http"},
		{"--http-proxy", Sources{HTTPProxy: "proxy.example.com:3128"}, "begins with http"},
		{"--https-proxy", Sources{HTTPSProxy: "http://[::1]:3128"}, "::1"},
		{"--no-proxy", Sources{NoProxy: "https://example.com"}, "a host, a domain or a network"},
	} {
		_, err := c.sources.Checked()
		said := Sentence(err)
		if KindOf(err) != Invalid || !strings.HasPrefix(said, c.flag+" cannot be used: ") || !strings.Contains(said, c.says) || !strings.Contains(said, "Write it like") {
			t.Errorf("%+v answers %q, %v", c.sources, said, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the refusal has the password: %v", err)
		}
	}
	for _, s := range []Sources{{}, {GoProxy: "off"}, {GoProxy: "https://a.example|https://b.example/x,direct"}, {NoProxy: ".example.com, 10.0.0.0/8,*"}, {NPMRegistry: "https://user:p%40ss@npm.example.com:8443/a/b/"}} {
		if _, err := s.Checked(); err != nil {
			t.Errorf("%+v is refused: %v", s, err)
		}
	}
}

func TestCredentialsOfSourcesAreNotShown(t *testing.T) {
	t.Parallel()
	s, err := Sources{NPMRegistry: "https://ann:hunter2%40home@npm.example.com/npm/", GoProxy: "https://a-long-token@go.example.com,direct", HTTPProxy: "http://proxy.example.com:3128"}.Checked()
	if err != nil {
		t.Fatal(err)
	}
	want := []Source{{"npm registry", "https://npm.example.com/npm"}, {"Go proxy", "https://go.example.com,direct"}, {"Proxy for http", "http://proxy.example.com:3128"}}
	if got := s.Shown(); !slices.Equal(got, want) {
		t.Errorf("shown is %q", got)
	}
	if got, want := s.Secrets(), []string{"a-long-token", "hunter2%40home", "hunter2@home"}; !slices.Equal(got, want) {
		t.Errorf("the secrets are %q, want %q", got, want)
	}
	text := s.Hide("GET https://ann:hunter2%40home@npm.example.com/npm/x, for hunter2@home: 404")
	if text != "GET https://npm.example.com/npm/x, for ••••••: 404" {
		t.Errorf("hidden is %q", text)
	}
}

func TestEnvironmentOfSources(t *testing.T) {
	t.Parallel()
	if env := (Sources{NoProxy: "example.com"}).Environment("10.0.0.0/8"); len(env) > 0 {
		t.Errorf("nothing that is set gives %v", env)
	}
	got := Sources{NPMRegistry: "http://npm.example.com:4873/npm", PythonIndex: "http://pypi.example.com:81/simple", AptMirror: "http://mirror.example.com/debian", GoProxy: "https://go.example.com",
		HTTPProxy: "http://one.example.com:3128", HTTPSProxy: "http://two.example.com:3128", NoProxy: "example.com"}.Environment("10.1.0.0/16")
	want := map[string]string{
		"npm_config_registry": "http://npm.example.com:4873/npm", "YARN_NPM_REGISTRY_SERVER": "http://npm.example.com:4873/npm", "YARN_UNSAFE_HTTP_WHITELIST": "npm.example.com",
		"PIP_INDEX_URL": "http://pypi.example.com:81/simple", "UV_DEFAULT_INDEX": "http://pypi.example.com:81/simple", "PIP_TRUSTED_HOST": "pypi.example.com:81", "GOPROXY": "https://go.example.com",
		"HTTP_PROXY": "http://one.example.com:3128", "http_proxy": "http://one.example.com:3128", "HTTPS_PROXY": "http://two.example.com:3128", "https_proxy": "http://two.example.com:3128",
		"NO_PROXY": "example.com,localhost,127.0.0.1,::1,10.1.0.0/16", "no_proxy": "example.com,localhost,127.0.0.1,::1,10.1.0.0/16",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	private := Sources{NPMRegistry: "https://ann:hunter2%40home@npm.example.com:8443/npm"}
	want = map[string]string{"npm_config_registry": "https://npm.example.com:8443/npm", "npm_config_userconfig": "/etc/coderunner/npmrc", "BUN_CONFIG_REGISTRY": private.NPMRegistry,
		"YARN_NPM_REGISTRY_SERVER": "https://npm.example.com:8443/npm", "YARN_NPM_AUTH_IDENT": "ann:hunter2@home", "YARN_NPM_ALWAYS_AUTH": "true"}
	if got := private.Environment(); !maps.Equal(got, want) {
		t.Errorf("a registry with credentials gives %v, want %v", got, want)
	}
	files := map[string]string{"/etc/coderunner/npmrc": "registry=https://npm.example.com:8443/npm/\nalways-auth=true\n//npm.example.com:8443/npm/:_auth=YW5uOmh1bnRlcjJAaG9tZQ==\n"}
	if got := private.Files(); !maps.Equal(got, files) {
		t.Errorf("and the files %q, want %q", got, files)
	}
	if env := (Sources{NPMRegistry: "https://npm.example.com", PythonIndex: "https://pypi.example.com"}).Environment(); env["PIP_TRUSTED_HOST"] != "" || env["YARN_UNSAFE_HTTP_WHITELIST"] != "" {
		t.Errorf("an encrypted source gives %v", env)
	}
}
