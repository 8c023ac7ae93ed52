// Package app is the composition root: it turns a configuration into a running
// CodeRunner. The program and the end-to-end tests use it alike.
package app

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge/daemon"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// Config is what whoever runs the server may choose. DefaultConfig has the values
// of a laptop.
type Config struct {
	Listen      string             // host:port of dashboard and apps; port 0 takes a free one
	DataDir     string             // keys, bundles, volumes, the private database
	DatabaseURL string             // "" for the private cluster under DataDir
	PublicURL   string             // how browsers reach the dashboard; "" for http://localhost:<port>
	AppsDomain  string             // apps are at <slug>.<AppsDomain>
	EngineDir   string             // the containerd daemon's directory; "" for <DataDir>/engine
	Containerd  string             // socket of a daemon that is already there, "" to start a private one
	Runtime     string             // containerd runtime, e.g. "io.containerd.runc.v2"
	MaxUpload   int64              // bytes of one uploaded archive
	MaxStored   int64              // bytes of all uploads of one user
	MinFree     int                // percent of a disk, below which nothing that needs disk is begun
	CacheBytes  int64              // of installed dependencies, kept for the next deploy
	UserCache   int64              // of downloaded packages, for one user's builds; 0 for none
	Standbys    int                // sandboxes that are kept prepared, 0 for none
	LogDays     int                // for which runs' logs are kept
	Sources     coderunner.Sources // of packages, for templates and inside sandboxes
	CABundle    string             // the certificates that sandboxes trust; "" for this machine's
	AppLimits   sandbox.Limits
	DBLimits    sandbox.Limits
	Version     string           // of the program, for people
	EdgeWithin  bool             // the edge is a part of this process and ends with it; for tests
	pgTools     string           // directory of pg_dump and pg_restore, "" to find them; for tests
	Throttle    runlog.Throttle  // of what one app prints
	Retention   runlog.Retention // of what a project's apps have printed
}

// DefaultConfig serves this machine only.
func DefaultConfig() Config {
	return Config{
		Listen:     "127.0.0.1:8080",
		DataDir:    "/var/lib/coderunner",
		AppsDomain: "localhost",
		Runtime:    "io.containerd.runc.v2",
		MaxUpload:  256 << 20,
		MaxStored:  5 << 30,
		MinFree:    10,
		CacheBytes: 10 << 30,
		UserCache:  3 << 30,
		Standbys:   3,
		LogDays:    30,
		AppLimits:  sandbox.Limits{MemoryBytes: 1 << 30, PIDs: 1024, DiskBytes: 8 << 30},
		DBLimits:   sandbox.Limits{MemoryBytes: 512 << 20, PIDs: 256},
		Throttle:   runlog.Throttle{LinesPerSecond: 2000},
		Retention:  runlog.Retention{Lines: 200_000, Bytes: 100 << 20, Age: 14 * 24 * time.Hour},
	}
}

// check completes what follows from other values, and refuses what cannot work.
func (c *Config) check() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return coderunner.Errorf(coderunner.Invalid, "--listen %q is not an address. Write it like 127.0.0.1:8080, or :8080 for all addresses.", c.Listen)
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return err
	}
	c.DataDir = dir
	if c.EngineDir == "" {
		c.EngineDir = filepath.Join(c.DataDir, "engine")
	}
	if c.MinFree < 1 || c.MinFree > 90 {
		return coderunner.Errorf(coderunner.Invalid, "--min-free %d is not a share of a disk that can be kept free. Give a number from 1 to 90, in percent.", c.MinFree)
	}
	if c.Standbys < 0 || c.Standbys > 100 {
		return coderunner.Errorf(coderunner.Invalid, "--standbys %d is not a number of sandboxes that can be kept prepared. Give one from 0 to 100.", c.Standbys)
	}
	if c.LogDays < 1 {
		return coderunner.Errorf(coderunner.Invalid, "--keep-logs %d is too short. Give a number of days, at least 1.", c.LogDays)
	}
	if name, own := ownKernel(c.Runtime); own {
		return coderunner.Errorf(coderunner.Invalid, "--runtime %q gives each sandbox a kernel of its own (%s), which does not work here: CodeRunner enters sandboxes through the kernel that they share with this machine. Leave --runtime out.", c.Runtime, name)
	}
	if c.Sources, err = c.Sources.Checked(); err != nil {
		return err
	}
	if err := checkBundle(c.CABundle); err != nil {
		return err
	}
	c.AppsDomain = strings.ToLower(strings.Trim(c.AppsDomain, "."))
	if c.AppsDomain == "" || strings.ContainsAny(c.AppsDomain, "/: ") {
		return coderunner.Errorf(coderunner.Invalid, "--apps-domain %q is not a domain. Write it like apps.example.com; the port and the scheme are those of --public-url.", c.AppsDomain)
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return coderunner.Errorf(coderunner.Invalid, "--public-url %q is not a URL. Write it like https://coderunner.example.com.", c.PublicURL)
		}
	}
	return nil
}

// ownKernel recognises the runtimes whose sandboxes cannot be entered: see
// docs/decisions/0007-processes-enter-without-the-runtime.md.
func ownKernel(runtime string) (name string, own bool) {
	runtime = strings.ToLower(runtime)
	for sign, name := range map[string]string{"kata": "Kata Containers", "runsc": "gVisor", "gvisor": "gVisor", "firecracker": "Firecracker", "runhcs": "Hyper-V", "urunc": "urunc", "wasm": "WebAssembly"} {
		if strings.Contains(runtime, sign) {
			return name, true
		}
	}
	return "", false
}

// addresses are the names under which the world reaches us.
type addresses struct {
	dashboard *url.URL
	apps      string // domain of the apps
}

// addressesOf follows from the configuration once the port is known.
func addressesOf(c Config, bound string) (addresses, error) {
	public := c.PublicURL
	if public == "" {
		_, port, err := net.SplitHostPort(bound)
		if err != nil {
			return addresses{}, err
		}
		public = "http://localhost:" + port
		if port == "80" {
			public = "http://localhost"
		}
	}
	u, err := url.Parse(public)
	if err != nil {
		return addresses{}, fmt.Errorf("the public URL: %w", err)
	}
	return addresses{dashboard: u, apps: c.AppsDomain}, nil
}

// edgeSettings are what the edge has to know before it listens.
func edgeSettings(c Config) (daemon.Settings, error) {
	s := daemon.Settings{Listen: c.Listen, AppsDomain: c.AppsDomain, DashboardHost: "localhost"}
	if c.PublicURL == "" {
		return s, nil
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return s, fmt.Errorf("the public URL: %w", err)
	}
	// What browsers use may be another scheme than ours: a proxy in front of us ends TLS.
	s.DashboardHost, s.Scheme = u.Hostname(), u.Scheme
	return s, nil
}

// app is where the app with this slug lives: its host name without a port, and its URL.
func (a addresses) app(slug string) (host, appURL string) {
	host = slug + "." + a.apps
	authority := host
	if port := a.dashboard.Port(); port != "" {
		authority = net.JoinHostPort(host, port)
	}
	return host, a.dashboard.Scheme + "://" + authority
}
