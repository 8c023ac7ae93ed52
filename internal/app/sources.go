package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
)

// checkBundle refuses a file of certificates that programs could not use; "" is this machine's own.
func checkBundle(path string) error {
	if path == "" {
		return nil
	}
	refuse := func(err error, why string) error {
		return coderunner.Wrap(err, coderunner.Invalid, "--ca-bundle %s cannot be used: %s. Name a file of certificates in PEM, those that are to be trusted and all others, such as /etc/ssl/certs/ca-certificates.crt.", path, why)
	}
	if !filepath.IsAbs(path) {
		return refuse(nil, "it is not an absolute path")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return refuse(err, "it cannot be read")
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return refuse(nil, "it has no certificate in it")
	}
	return nil
}

// sourceCheck is one request that shows whether a source is what it is said to be.
type sourceCheck struct {
	what    string // "the npm registry https://npm.example.com"
	flag    string
	address string // what to ask for
	user    *url.Userinfo
	misses  string // what it is that a wrong one does not have
}

// sourceChecks are those of all sources that are set. Suites are the Debian releases of the templates.
func sourceChecks(s coderunner.Sources, suites []string) (checks []sourceCheck) {
	add := func(what, flag, base, path, misses string) {
		u, err := url.Parse(base)
		if err != nil || base == "" {
			return
		}
		user := u.User
		u.User = nil
		checks = append(checks, sourceCheck{what + " " + u.String(), flag, u.String() + path, user, misses})
	}
	add("the npm registry", "--npm-registry", s.NPMRegistry, "/npm", "the package npm")
	add("the Python index", "--python-index", s.PythonIndex, "/pip/", "the package pip")
	for _, suite := range suites {
		add("the Debian mirror", "--apt-mirror", s.AptMirror, "/dists/"+suite+"/InRelease", "Debian "+suite)
		if s.AptMirror != "" {
			add("the Debian mirror", "--apt-mirror", s.AptMirror+"-security", "/dists/"+suite+"-security/InRelease", "the security updates of Debian "+suite)
		}
	}
	if first := strings.FieldsFunc(s.GoProxy, func(c rune) bool { return c == ',' || c == '|' }); len(first) > 0 && strings.Contains(first[0], "://") {
		add("the Go proxy", "--go-proxy", first[0], "/golang.org/x/text/@v/list", "the module golang.org/x/text")
	}
	return checks
}

// sourceTime bounds each request of the doctor's.
const sourceTime = 15 * time.Second

// checkSources asks each source that is set for something that it must have, and each proxy to let it through.
func checkSources(ctx context.Context, config Config, suites []string, tell func(what string, err error)) {
	client, err := containerd.SourceClient(config.Sources, config.CABundle)
	if err != nil {
		tell("the certificates "+config.CABundle, err)
		return
	}
	client.Timeout = sourceTime
	defer client.CloseIdleConnections()
	for _, proxy := range []struct{ flag, address, through string }{
		{"--http-proxy", config.Sources.HTTPProxy, "http://deb.debian.org/"}, {"--https-proxy", config.Sources.HTTPSProxy, "https://registry.npmjs.org/"},
	} {
		if u, err := url.Parse(proxy.address); err == nil && proxy.address != "" {
			tell("the proxy "+config.Sources.Hide(proxy.address), checkProxy(ctx, client, proxy.flag, u, proxy.through))
		}
	}
	for _, check := range sourceChecks(config.Sources, suites) {
		tell(check.what, check.try(ctx, client))
	}
	if config.CABundle != "" { // else the configuration would have been refused
		tell("the certificates "+config.CABundle, nil)
	}
}

func (c sourceCheck) try(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address, nil)
	if err != nil {
		return err
	}
	if c.user != nil {
		password, _ := c.user.Password()
		req.SetBasicAuth(c.user.Username(), password)
	}
	if err := ownAddress(ctx, c.flag, req.URL.Hostname()); err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusProxyAuthRequired:
		return coderunner.Errorf(coderunner.Unavailable, "The proxy wants other credentials. Write them into its address: http://user:password@host:port.")
	case http.StatusUnauthorized, http.StatusForbidden:
		return coderunner.Errorf(coderunner.Unavailable, "It refuses the request (%s). Write the credentials into the address that %s has: https://user:password@host.", res.Status, c.flag)
	case http.StatusNotFound:
		return coderunner.Errorf(coderunner.Unavailable, "It does not have %s: %s is not found. Correct the path of the address that %s has.", c.misses, c.address, c.flag)
	}
	return coderunner.Errorf(coderunner.Unavailable, "It answers %s to a request for %s. Ask whoever runs it.", res.Status, c.address)
}

func (c sourceCheck) unreachable(err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return coderunner.Wrap(err, coderunner.Unavailable, "Its certificate is signed by somebody who is not trusted here. Give a file with that authority's certificate as --ca-bundle.")
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return coderunner.Wrap(err, coderunner.Unavailable, "The name %s is not known. Correct the address that %s has, or this machine's name servers.", dns.Name, c.flag)
	}
	return coderunner.Wrap(err, coderunner.Unavailable, "It cannot be reached. Correct the address that %s has, or let this machine through to it.", c.flag)
}

// checkProxy asks a proxy for somebody else's page. What that answers is not the proxy's matter, and
// a proxy may refuse it.
func checkProxy(ctx context.Context, client *http.Client, flag string, proxy *url.URL, through string) error {
	if err := ownAddress(ctx, flag, proxy.Hostname()); err != nil {
		return err
	}
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	}
	conn, err := (&net.Dialer{Timeout: sourceTime}).DialContext(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return sourceCheck{flag: flag}.unreachable(err)
	}
	conn.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, through, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	refused := err != nil && strings.Contains(err.Error(), http.StatusText(http.StatusProxyAuthRequired))
	if err == nil {
		res.Body.Close()
		refused = res.StatusCode == http.StatusProxyAuthRequired
	}
	if refused {
		return coderunner.Errorf(coderunner.Unavailable, "It wants other credentials. Write them into the address that %s has: http://user:password@host:port.", flag)
	}
	return nil
}

// ownAddress refuses a host that is this machine: sandboxes do not reach its services.
func ownAddress(ctx context.Context, flag, host string) error {
	found, _ := net.DefaultResolver.LookupIPAddr(ctx, host) // of an unknown one the request tells, and a proxy may know it
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("look up this machine's addresses: %w", err)
	}
	for _, address := range own {
		for _, ip := range found {
			if network, is := address.(*net.IPNet); is && network.IP.Equal(ip.IP) {
				return coderunner.Errorf(coderunner.Unavailable, "%s is this machine, whose services sandboxes do not reach. Give %s an address of another machine.", host, flag)
			}
		}
	}
	return nil
}
