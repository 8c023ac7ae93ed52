package containerd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/fetch"
)

// supply is from where templates get what they are made of. Nothing of it goes into a
// template: one from a mirror is the same as one from Debian.
type supply struct {
	sources  coderunner.Sources
	caBundle string // "" for what this machine trusts by itself
}

// registry is npm's, without a slash at the end.
func (s supply) registry() string {
	if s.sources.NPMRegistry != "" {
		return s.sources.NPMRegistry
	}
	return fetch.NPMRegistry
}

// goProxy is the first that GOPROXY names, without a slash at the end: Go's own where that is none.
func (s supply) goProxy() string {
	first, _, _ := strings.Cut(strings.ReplaceAll(s.sources.GoProxy, "|", ","), ",")
	if !strings.Contains(first, "://") {
		return defaultGoProxy
	}
	return strings.TrimSuffix(first, "/")
}

// aptSources are the files of apt's sources for a suite, by name: the mirror's, or else
// those of this machine.
func (s supply) aptSources(suite string) (map[string]string, error) {
	if s.sources.AptMirror != "" {
		return map[string]string{"debian.sources": sourcesAt(s.sources.AptMirror, suite)}, nil
	}
	return hostSources("/etc/apt", suite)
}

// aptOptions are what apt and mmdebstrap need to know beside the sources, one in each line.
func (s supply) aptOptions() []string {
	if s.caBundle == "" {
		return nil
	}
	return []string{fmt.Sprintf("Acquire::https::CaInfo %q;", s.caBundle)}
}

// environment is scriptEnvironment with the proxies that are configured.
func (s supply) environment(ours []string) []string {
	env := scriptEnvironment(ours)
	if s.sources.HTTPProxy == "" && s.sources.HTTPSProxy == "" {
		return env
	}
	kept := env[:0]
	for _, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			kept = append(kept, variable)
		}
	}
	proxies := coderunner.Sources{HTTPProxy: s.sources.HTTPProxy, HTTPSProxy: s.sources.HTTPSProxy, NoProxy: s.sources.NoProxy}
	return append(kept, pairs(proxies.Environment())...)
}

// SourceClient makes requests as the sources say: with their proxies, or else those of this machine,
// and with the certificates of a file, or else this machine's.
func SourceClient(sources coderunner.Sources, caBundle string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if sources.HTTPProxy != "" || sources.HTTPSProxy != "" {
		proxy := (&httpproxy.Config{HTTPProxy: sources.HTTPProxy, HTTPSProxy: sources.HTTPSProxy, NoProxy: sources.NoProxy}).ProxyFunc()
		transport.Proxy = func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
	}
	if caBundle != "" {
		text, err := os.ReadFile(caBundle)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(text)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport}, nil
}
