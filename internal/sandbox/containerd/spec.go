package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// What a sandbox gets when its spec names no limit.
const (
	defaultMemory = 512 << 20
	defaultPIDs   = 512
)

// rootCapabilities are what uid 0 may do within a sandbox; other users may do none of it.
var rootCapabilities = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"}

// checkSpec refuses what can never be made.
func checkSpec(spec sandbox.Spec) error {
	if err := checkName("sandbox", spec.Name); err != nil {
		return err
	}
	if spec.Network != "" {
		if err := checkName("network", spec.Network); err != nil {
			return err
		}
	}
	if spec.Hostname != "" && (len(spec.Hostname) > 63 || !validName.MatchString(spec.Hostname)) {
		return coderunner.Errorf(coderunner.Invalid, "%q cannot be a host name.", spec.Hostname)
	}
	if spec.Snapshot != "" {
		if err := checkName("snapshot", spec.Snapshot); err != nil {
			return err
		}
	}
	for _, m := range spec.Volumes {
		if err := checkName("volume", m.Volume); err != nil {
			return err
		}
		if !filepath.IsAbs(m.Path) || filepath.Clean(m.Path) != m.Path || m.Path == "/" {
			return coderunner.Errorf(coderunner.Invalid, "The volume %s cannot be mounted at %q: that is not an absolute path below the root.", m.Volume, m.Path)
		}
	}
	for path := range spec.Settings {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
			return coderunner.Errorf(coderunner.Invalid, "A file of settings cannot be at %q: that is not an absolute path below the root.", path)
		}
	}
	if spec.Limits.MemoryBytes < 0 || spec.Limits.CPUs < 0 || spec.Limits.PIDs < 0 || spec.Limits.DiskBytes < 0 {
		return coderunner.Errorf(coderunner.Invalid, "A sandbox's limits cannot be negative.")
	}
	return checkEnv(spec.Env)
}

var validVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// shellVariables are the shell's at the gate: it would not pass them on as they are.
var shellVariables = []string{"IFS", "OPTIND", "PPID"}

// checkEnv refuses what would not arrive as it is.
func checkEnv(env map[string]string) error {
	for key, value := range env {
		if !validVariable.MatchString(key) || slices.Contains(shellVariables, key) || !isText(value) {
			return coderunner.Errorf(coderunner.Invalid, "%q cannot be an environment variable of a sandbox: names are made of letters, digits and underscores, values are text without NUL, and %s are the shell's.",
				key, strings.Join(shellVariables, ", "))
		}
	}
	return nil
}

// isText reports whether the runtime, which is told in JSON, gets s unchanged.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// specHash tells one spec from another, so that a name is not reused for something
// else. Limits do not count: a sandbox keeps those that it was made with.
func specHash(spec sandbox.Spec) (string, error) {
	spec.Limits = sandbox.Limits{}
	text, err := json.Marshal(spec)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16]), err
}

// runtimeSpec is the sandbox as the runtime is told.
func (p *Provider) runtimeSpec(id string, spec sandbox.Spec, config ocispec.ImageConfig, user account) []oci.SpecOpts {
	limits := limitsOf(spec)
	opts := append(p.confinement(id, user),
		withEnv(sandboxEnv(spec, config)),
		oci.WithProcessCwd(config.WorkingDir),
		oci.WithHostname(hostnameOf(spec)),
		oci.WithMounts(p.mounts(spec)),
		oci.WithMemoryLimit(uint64(limits.MemoryBytes)),
		oci.WithPidsLimit(limits.PIDs),
	)
	if p.cgroups.Unified || p.cgroups.HasSwapLimit() {
		opts = append(opts, oci.WithMemorySwap(limits.MemoryBytes))
	}
	if limits.CPUs > 0 {
		opts = append(opts, oci.WithCPUCFS(inside.CPUQuota(limits.CPUs), inside.CPUPeriod))
	}
	return opts
}

// confinement is what all sandboxes have in common: what holds them in.
func (p *Provider) confinement(id string, user account) []oci.SpecOpts {
	return []oci.SpecOpts{
		// The first process only reaps orphans and keeps the namespaces.
		oci.WithProcessArgs("/usr/bin/tini", "--", "/usr/bin/sleep", "infinity"),
		withUser(user),
		oci.WithCgroup(inside.SandboxGroup(id)),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: netnsPath(id)}),
		oci.WithNoNewPrivileges,
		withCapabilities(),
		withRlimits(),
		seccomp.WithDefaultProfile(), // after the capabilities, on which it depends
		withOwnSystemCalls,
	}
}

// limitsOf are the spec's, with the provider's own where it names none.
func limitsOf(spec sandbox.Spec) sandbox.Limits {
	limits := spec.Limits
	if limits.MemoryBytes == 0 {
		limits.MemoryBytes = defaultMemory
	}
	if limits.PIDs == 0 {
		limits.PIDs = defaultPIDs
	}
	return limits
}

func hostnameOf(spec sandbox.Spec) string {
	if spec.Hostname == "" {
		return spec.Name
	}
	return spec.Hostname
}

// sandboxEnv is the environment of every process: the template's, the account's, the spec's.
func sandboxEnv(spec sandbox.Spec, config ocispec.ImageConfig) []string {
	env := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME": config.Labels[labelUserHome],
		"USER": config.Labels[labelUserName],
	}
	for _, pair := range config.Env {
		key, value, _ := strings.Cut(pair, "=")
		env[key] = value
	}
	for key, value := range spec.Env {
		env[key] = value
	}
	return pairs(env)
}

func pairs(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for key, value := range env {
		list = append(list, key+"="+value)
	}
	slices.Sort(list)
	return list
}

func withEnv(env []string) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Process.Env = env
		return nil
	}
}

func withUser(user account) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Process.User = specs.User{UID: user.uid, GID: user.gid}
		return nil
	}
}

func withCapabilities() oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: rootCapabilities}
		return nil
	}
}

// withOwnSystemCalls lets programs of this machine's own architecture run only, and not
// those of its 32-bit predecessors: no template has any, the kernel has less to
// offer to an attacker, and the runtime prepares a third of the rules.
func withOwnSystemCalls(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	native := map[string]specs.Arch{"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64}[runtime.GOARCH]
	if native != "" {
		s.Linux.Seccomp.Architectures = []specs.Arch{native}
	}
	return nil
}

// withRlimits sets limits that the host's own hard limits allow.
func withRlimits() oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		var files unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
			return err
		}
		limit := min(files.Max, 1<<20)
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: limit, Soft: limit}, {Type: "RLIMIT_CORE"}}
		return nil
	}
}

func (p *Provider) mounts(spec sandbox.Spec) []specs.Mount {
	dir := p.sandboxDir(spec.Name)
	readOnly := []string{"rbind", "ro", "nosuid", "nodev"}
	mounts := []specs.Mount{
		{Destination: "/etc/resolv.conf", Type: "bind", Source: filepath.Join(dir, "resolv.conf"), Options: readOnly},
		{Destination: "/etc/hosts", Type: "bind", Source: filepath.Join(dir, "hosts"), Options: readOnly},
		{Destination: inside.RunMount, Type: "bind", Source: filepath.Join(dir, "run"), Options: readOnly},
	}
	if p.cfg.CABundle != "" {
		mounts = append(mounts, specs.Mount{Destination: CABundlePath, Type: "bind", Source: p.cfg.CABundle, Options: readOnly})
	}
	for path := range spec.Settings {
		mounts = append(mounts, specs.Mount{Destination: path, Type: "bind", Source: p.settingFile(spec.Name, path), Options: readOnly})
	}
	for _, v := range spec.Volumes {
		mounts = append(mounts, specs.Mount{Destination: v.Path, Type: "bind", Source: p.volumeData(v.Volume), Options: []string{"rbind", "rw", "nosuid", "nodev"}})
	}
	return mounts
}

// settingFile is where a file of the sandbox's settings is on this machine, for root alone.
func (p *Provider) settingFile(name, path string) string {
	return filepath.Join(p.sandboxDir(name), "settings", url.PathEscape(path))
}

// writeFiles makes what is mounted into the sandbox.
func (p *Provider) writeFiles(spec sandbox.Spec, net attachment) error {
	dir := p.sandboxDir(spec.Name)
	if err := os.MkdirAll(filepath.Join(dir, "run"), 0o755); err != nil {
		return err
	}
	if len(spec.Settings) > 0 {
		if err := os.MkdirAll(filepath.Join(dir, "settings"), 0o700); err != nil {
			return err
		}
	}
	for path, text := range spec.Settings {
		if err := os.WriteFile(p.settingFile(spec.Name, path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	hosts := "127.0.0.1\tlocalhost\n" + net.Address.Addr().String() + "\t" + hostnameOf(spec) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte(resolvConf()), 0o644)
}

// resolvConf is the host's, without servers that only the host itself reaches.
func resolvConf() string {
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var kept strings.Builder
		servers := 0
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) >= 2 && fields[0] == "nameserver" {
				if strings.HasPrefix(fields[1], "127.") || strings.Contains(fields[1], ":") {
					continue
				}
				servers++
			}
			kept.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
		if servers > 0 {
			return kept.String()
		}
	}
	return ""
}
