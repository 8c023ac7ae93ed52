// Package containerd runs sandboxes on this machine through containerd.
//
// A sandbox is one container whose first process only reaps (tini), with a
// network namespace on its project's bridge. Commands and long-lived processes
// join it, each in a cgroup of its own, so that a whole process tree can be
// ended whatever its members do. What containerd does not keep (network
// addresses, output, volumes) is in files below the state directory.
package containerd

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	client "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// Config says which engine to use and where to keep what. Zero values mean the defaults.
type Config struct {
	EngineDir string // the private daemon's directory, shared by all instances of this machine that name it
	Address   string // socket of a daemon that is there already; "" for a private one in EngineDir
	Namespace string // containerd namespace; "coderunner"
	Instance  string // whose sandboxes these are; required; [a-z0-9-], at most 32 bytes
	StateDir  string // volumes, output and addresses of the instance's sandboxes; required
	Runtime   string // "io.containerd.runc.v2"
	CABundle  string // the host's certificates, given to sandboxes; "" for Debian's file if it exists
	CacheDir  string // archives of templates; /var/cache/coderunner/templates
	Registry  string // npm's, for templates that download from it; https://registry.npmjs.org
	GoProxy   string // the same for modules of Go; https://proxy.golang.org
}

// CABundlePath is where sandboxes find the host's certificates.
const CABundlePath = "/etc/ssl/certs/ca-certificates.crt"

const snapshotter = "overlayfs"

// Provider is the sandbox.Provider of this machine.
type Provider struct {
	cfg       Config
	client    *client.Client
	templates templateStore
	cgroups   inside.Cgroups
	locks     keyedMutex
	restart   sync.Mutex
	users     *os.File // locked while we use the private daemon; nil without one
	keepers   inside.Keepers
	spares    spares
	standbys  standbys
	ids       sync.Map // of sandboxes at the engine, by name, where we know them
	starting  sync.Map // the first processes that are being started, by their sandboxes' ids at the engine
	filters   sync.Map // of system calls, by their text in a sandbox's specification
	unwatch   func()   // ends the watch of the disk
}

var _ sandbox.Provider = (*Provider)(nil)

// Open connects to the daemon and starts a private one if that is what the
// configuration asks for. The daemon outlives this process.
func Open(ctx context.Context, cfg Config) (*Provider, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.StateDir, filepath.Join(cfg.StateDir, "sandboxes"), filepath.Join(cfg.StateDir, "volumes"), filepath.Join(cfg.StateDir, "networks")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, coderunner.Wrap(err, coderunner.Unavailable, "The directory %s cannot be made. Run CodeRunner as root, or choose another data directory.", dir)
		}
	}
	// A process that is about to begin in a sandbox shares our memory for a moment.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, err
	}
	var users *os.File
	if cfg.Address == "" {
		var err error
		if users, err = useDaemon(ctx, cfg.EngineDir); err != nil {
			return nil, err
		}
	}
	c, err := connect(ctx, cfg.socket(), cfg.Namespace)
	if err != nil {
		users.Close()
		return nil, err
	}
	groups := inside.FindCgroups()
	groups.Weigh()
	p := &Provider{cfg: cfg, client: c, users: users, cgroups: groups, templates: templateStore{client: c, snapshotter: snapshotter, dir: cfg.CacheDir, registries: registries{npm: cfg.Registry, golang: cfg.GoProxy}}}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var watch sync.WaitGroup
	watch.Go(func() { p.watchDisk(watching) })
	p.unwatch = func() { cancel(); watch.Wait() }
	return p, p.translate(p.endYields(ctx), "looking for the sandboxes of before")
}

func (c *Config) complete() error {
	if len(c.Instance) > 32 || !validName.MatchString(c.Instance) {
		return coderunner.Errorf(coderunner.Invalid, "The instance name %q is not one: use at most 32 of a-z, 0-9 and single dashes.", c.Instance)
	}
	if c.StateDir == "" {
		return coderunner.Errorf(coderunner.Invalid, "The containerd provider needs a state directory.")
	}
	dir, err := filepath.Abs(c.StateDir)
	if err != nil {
		return err
	}
	c.StateDir = dir
	for value, fallback := range map[*string]string{
		&c.Namespace: "coderunner", &c.Runtime: "io.containerd.runc.v2", &c.CacheDir: "/var/cache/coderunner/templates", &c.Registry: defaultRegistry, &c.GoProxy: defaultGoProxy,
		&c.EngineDir: filepath.Join(c.StateDir, "engine"),
	} {
		if *value == "" {
			*value = fallback
		}
	}
	if c.CABundle == "" {
		if _, err := os.Stat(CABundlePath); err == nil {
			c.CABundle = CABundlePath
		}
	}
	return nil
}

func (c *Config) socket() string {
	if c.Address != "" {
		return c.Address
	}
	return daemonSocket(c.EngineDir)
}

// Name implements sandbox.Provider.
func (p *Provider) Name() string { return "containerd" }

// Capabilities implements sandbox.Provider.
func (p *Provider) Capabilities() sandbox.Capabilities {
	return sandbox.Capabilities{PrivateNetwork: true, Snapshots: true, DurableVolumes: true}
}

// Version is the daemon's, as it tells it.
func (p *Provider) Version(ctx context.Context) (string, error) {
	version, err := p.client.Version(ctx)
	return version.Version, p.translate(err, "asking containerd for its version")
}

// CABundle is the path, inside sandboxes, of the host's certificates; "" if there are none.
func (p *Provider) CABundle() string {
	if p.cfg.CABundle == "" {
		return ""
	}
	return CABundlePath
}

// HasTemplate implements sandbox.Provider.
func (p *Provider) HasTemplate(ctx context.Context, ref sandbox.TemplateRef) (bool, error) {
	has, err := p.templates.has(ctx, ref)
	return has, p.translate(err, "asking for the template "+ref.Name)
}

// BuildTemplate implements sandbox.Provider.
func (p *Provider) BuildTemplate(ctx context.Context, t sandbox.Template, out io.Writer) error {
	return p.translate(p.templates.provide(ctx, t, out), "building the template "+t.Name)
}

// Check implements sandbox.Provider.
func (p *Provider) Check(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return coderunner.Errorf(coderunner.Unavailable, "Sandboxes on this machine need the rights of root. Start CodeRunner as root (sudo make run).")
	}
	serving, err := p.client.IsServing(ctx)
	if err != nil {
		return p.translate(err, "asking containerd whether it serves")
	}
	if !serving {
		return coderunner.Errorf(coderunner.Unavailable, "containerd at %s does not serve yet. Wait a moment and try again.", p.cfg.socket())
	}
	if err := checkFirewall(); err != nil {
		return err
	}
	_, err = uplinkMTU()
	return err
}

// Close implements sandbox.Provider.
func (p *Provider) Close() error {
	p.unwatch()
	p.keepers.Close()
	p.spares.close()
	err := p.closeStandbys()
	p.users.Close() // nil is no file, and no harm
	return errors.Join(err, p.client.Close())
}

// keyedMutex is one mutex for each name in use.
type keyedMutex struct {
	mu    sync.Mutex
	locks map[string]*countedMutex
}

type countedMutex struct {
	sync.Mutex
	users int
}

// lock waits for the name's turn and returns how to end it.
func (k *keyedMutex) lock(name string) func() {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*countedMutex{}
	}
	m := k.locks[name]
	if m == nil {
		m = &countedMutex{}
		k.locks[name] = m
	}
	m.users++
	k.mu.Unlock()
	m.Lock()
	return func() {
		m.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if m.users--; m.users == 0 {
			delete(k.locks, name)
		}
	}
}
