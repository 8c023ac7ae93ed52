package containerd

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"golang.org/x/sys/unix"
)

// errDamaged marks a kept file that is not what was written.
var errDamaged = errors.New("damaged")

func isDiskFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		err != nil && strings.Contains(err.Error(), "no space left on device")
}

const (
	networkTrouble = `(?i)temporary failure resolving|could not resolve|could not connect|unable to connect|connection (refused|timed out|failed)|` +
		`network is unreachable|failed to fetch|no route to host|proxy connect|hash sum mismatch`
	unknownPackage = `Unable to locate package (\S+)|Package '?([a-z0-9+.-]+)'? has no installation candidate`
)

// explainBuild turns whatever stopped a build into a sentence. The end of what
// the packages' programs printed goes to say, for whoever reads the log.
func explainBuild(err error, dir string, t sandbox.Template, say func(string, ...any)) error {
	var known *coderunner.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case isDiskFull(err):
		return diskFull(err, dir)
	}
	var script *scriptError
	if !errors.As(err, &script) {
		return coderunner.Wrap(err, coderunner.Internal, "The template %s could not be built.", t.Name)
	}
	for _, line := range script.lines {
		say("%s", line)
	}
	text := strings.Join(script.lines, "\n")
	if strings.Contains(text, "No space left on device") {
		return diskFull(err, dir)
	}
	if match := regexp.MustCompile(unknownPackage).FindStringSubmatch(text); match != nil {
		return coderunner.Wrap(err, coderunner.Invalid,
			"Debian %s has no package %s, which the appliance %s names. Correct its appliance.yaml.", t.Suite, match[1]+match[2], t.Name)
	}
	if regexp.MustCompile(networkTrouble).MatchString(text) {
		return coderunner.Wrap(err, coderunner.Unavailable,
			"Debian's packages could not be downloaded for the template %s: %s Check this machine's network, its proxy settings and the sources of apt, and try again.",
			t.Name, complaint(script.lines))
	}
	return coderunner.Wrap(err, coderunner.Invalid, "The template %s could not be built: %s", t.Name, complaint(script.lines))
}

func diskFull(err error, dir string) error {
	return coderunner.Wrap(err, coderunner.Unavailable,
		"The disk that holds %s is full. A template takes up to 3 GB while it is built; free some space and try again.", dir)
}

// complaint is the line that says what went wrong: apt's and mmdebstrap's first
// error, or else the last line there is.
func complaint(lines []string) string {
	found := "it said nothing about why"
	for _, line := range lines {
		if strings.TrimSpace(line) != "" {
			found = line
		}
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "E: ") {
			found = line
			break
		}
	}
	found = strings.TrimSpace(strings.TrimPrefix(found, "E: "))
	if len(found) > 300 {
		found = strings.ToValidUTF8(found[:300], "") + " …"
	}
	return strings.TrimRight(found, ".") + "."
}
