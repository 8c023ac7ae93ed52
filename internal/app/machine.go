package app

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
	"github.com/coderunner/coderunner/internal/store"
)

// release is a version as far as it matters here: major and minor.
type release [2]int

func (r release) String() string { return fmt.Sprintf("%d.%d", r[0], r[1]) }

func (r release) before(o release) bool { return r[0] < o[0] || r[0] == o[0] && r[1] < o[1] }

var releasePattern = regexp.MustCompile(`\d+(?:\.(\d+))?`)

// releaseOf reads the first number in a text, "1.6.20~ds1" or "15.18 (Debian 15.18-0)".
func releaseOf(text string) (r release, ok bool) {
	m := releasePattern.FindString(text)
	if m == "" {
		return r, false
	}
	_, _ = fmt.Sscanf(m, "%d.%d", &r[0], &r[1]) // without a minor, it is 0
	return r, true
}

// requirement says which releases of a part work. Between needed and known nobody has tried.
type requirement struct {
	name   string
	known  release // the lowest that we know to work
	needed release // without it nothing works, zero for not known
	why    string  // it is needed, after "which"
	get    string  // how to come by a newer one
}

var (
	kernelNeeds = requirement{name: "Linux", known: release{5, 14}, needed: release{5, 12},
		why: "has mount_setattr, with which sandboxes get their files", get: "Upgrade the system, or install a newer kernel, and start the machine again."}
	postgresNeeds   = requirement{name: "PostgreSQL", known: release{15}, needed: release{13}, why: "makes the ids of our rows", get: "Upgrade the server that DATABASE_URL names, or leave that out."}
	containerdNeeds = requirement{name: "containerd", known: release{1, 6}, get: "Install a newer one (apt-get install containerd), then coderunner down and start again."}
	runcNeeds       = requirement{name: "runc", known: release{1, 1}, get: "Install a newer one (apt-get install runc)."}
)

// judge says what is to be said about a part of this version. The error is a sentence, and
// there is one only if CodeRunner cannot work with it.
func (r requirement) judge(version string) (coderunner.Part, error) {
	part := coderunner.Part{Name: r.name, Version: version}
	is, ok := releaseOf(version)
	switch {
	case !ok:
		part.Trouble = fmt.Sprintf("It does not tell its version. The lowest that is known to work is %s.", r.known)
	case is.before(r.needed):
		err := coderunner.Errorf(coderunner.Unavailable, "%s %s is too old: CodeRunner needs %s, which %s. %s", r.name, is, r.needed, r.why, r.get)
		part.Trouble = coderunner.Sentence(err)
		return part, err
	case is.before(r.known):
		part.Trouble = fmt.Sprintf("%s is the lowest that is known to work. %s", r.known, r.get)
	}
	return part, nil
}

// unknown is a part whose version could not be asked for.
func (r requirement) unknown(err error) coderunner.Part {
	return coderunner.Part{Name: r.name, Trouble: coderunner.Sentence(err)}
}

func kernel() (coderunner.Part, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return kernelNeeds.unknown(err), nil
	}
	return kernelNeeds.judge(unix.ByteSliceToString(name.Release[:]))
}

func postgres(ctx context.Context, st *store.Store) (coderunner.Part, error) {
	version, err := st.ServerVersion(ctx)
	if err != nil {
		return postgresNeeds.unknown(err), nil
	}
	version, _, _ = strings.Cut(version, " ") // what follows is the distribution's
	return postgresNeeds.judge(version)
}

func runc(ctx context.Context) coderunner.Part {
	if err := installed("runc"); err != nil {
		return runcNeeds.unknown(err)
	}
	output, err := exec.CommandContext(ctx, "runc", "--version").Output()
	if err != nil {
		return runcNeeds.unknown(coderunner.Wrap(err, coderunner.Unavailable, "runc --version does not work: %v.", err))
	}
	var version string
	_, _ = fmt.Sscanf(string(output), "runc version %s", &version)
	part, _ := runcNeeds.judge(version)
	return part
}

func engine(ctx context.Context, p *containerd.Provider) coderunner.Part {
	version, err := p.Version(ctx)
	if err != nil {
		return containerdNeeds.unknown(err)
	}
	part, _ := containerdNeeds.judge(version)
	return part
}

// machine remembers for a while what this machine has.
type machine struct {
	mu    sync.Mutex
	at    time.Time
	parts []coderunner.Part
}

// machineFresh is how long: asking starts a program.
const machineFresh = 30 * time.Second

// machineParts are what the page Server shows: what we run on, and ourselves.
func (a *App) machineParts(ctx context.Context) []coderunner.Part {
	a.machine.mu.Lock()
	defer a.machine.mu.Unlock()
	if a.machine.parts != nil && time.Since(a.machine.at) < machineFresh {
		return a.machine.parts
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	linux, _ := kernel()
	database, _ := postgres(ctx, a.store)
	a.machine.parts = []coderunner.Part{{Name: "CodeRunner", Version: a.config.Version}, linux, engine(ctx, a.provider), runc(ctx), database}
	a.machine.at = time.Now()
	return a.machine.parts
}

// warnOfParts logs what may not work.
func (a *App) warnOfParts(ctx context.Context) {
	for _, part := range a.machineParts(ctx) {
		if part.Trouble != "" {
			a.log.Warn("a part of this machine may not work", "part", part.Name, "version", part.Version, "why", part.Trouble)
		}
	}
}
