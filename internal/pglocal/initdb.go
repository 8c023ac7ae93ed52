package pglocal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"golang.org/x/sys/unix"
)

// minFree is what a new cluster needs on disk, in bytes, with its first log segments.
const minFree = 128 << 20

const distributionBins = "/usr/lib/postgresql"

// installation is one release of PostgreSQL on this machine.
type installation struct {
	binDir string
	major  string // "15"
}

func (i installation) path(program string) string { return filepath.Join(i.binDir, program) }

func (c *Cluster) dataDir() string { return filepath.Join(c.dir, "data") }
func (c *Cluster) logPath() string { return filepath.Join(c.dir, "postgres.log") }

// clusterMajor is the release that made the cluster, "" if there is no cluster yet.
func (c *Cluster) clusterMajor() (string, error) {
	text, err := os.ReadFile(filepath.Join(c.dataDir(), "PG_VERSION"))
	if err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", c.explain(err, "read the database's version")
	}
	if _, err := os.Lstat(c.dataDir()); err == nil {
		return "", coderunner.Errorf(coderunner.Unavailable, "%s exists and holds no database. Move it away, or name another data directory.", c.dataDir())
	}
	return "", nil
}

// findInstallation chooses the binaries and checks that they fit the cluster and
// that the cluster's account reaches its directory.
func (c *Cluster) findInstallation(ctx context.Context) (installation, error) {
	want, err := c.clusterMajor()
	if err != nil {
		return installation{}, err
	}
	binDir := c.binDir
	if binDir == "" {
		if binDir = newestBinDir(want, "postgres"); binDir == "" {
			release := "postgresql"
			if want != "" {
				release += "-" + want
			}
			return installation{}, coderunner.Errorf(coderunner.Unavailable,
				"PostgreSQL is not installed under %s. Install it (apt-get install %s), or set DATABASE_URL to a server of your own.", distributionBins, release)
		}
	}
	found := installation{binDir: binDir}
	version := exec.CommandContext(ctx, found.path("postgres"), "--version")
	c.account.become(version)
	version.Dir = "/"
	output, err := version.CombinedOutput()
	if err != nil {
		return found, coderunner.Wrap(fmt.Errorf("%w: %s", err, output), coderunner.Unavailable,
			"PostgreSQL in %s cannot be run as the account %q. Install it (apt-get install postgresql), or name its directory.", binDir, c.account.name)
	}
	match := regexp.MustCompile(`(\d+)(\.\d+|devel|beta\d+|rc\d+)`).FindSubmatch(output)
	if match == nil {
		return found, coderunner.Errorf(coderunner.Unavailable, "%s does not tell its version.", found.path("postgres"))
	}
	found.major = string(match[1])
	if want != "" && want != found.major {
		return found, coderunner.Errorf(coderunner.Unavailable,
			"The database in %s was made by PostgreSQL %s, and %s is PostgreSQL %s. Install PostgreSQL %s (apt-get install postgresql-%s), or upgrade the database with pg_upgrade.",
			c.dataDir(), want, binDir, found.major, want, want)
	}
	reach := exec.CommandContext(ctx, found.path("postgres"), "--version")
	c.account.become(reach)
	reach.Dir = c.dir
	if err := reach.Run(); err != nil {
		return found, coderunner.Wrap(err, coderunner.Unavailable,
			"The account %q, which runs the database, cannot pass %s. Allow it (chmod o+x), or choose another data directory.", c.account.name, c.barrier())
	}
	return found, nil
}

// newestBinDir returns the binaries of release major, or of the newest if major is "",
// that has the program; "" if none has.
func newestBinDir(major, program string) string {
	found, err := filepath.Glob(filepath.Join(distributionBins, "*", "bin", program))
	if err != nil {
		return ""
	}
	best, bestRelease := "", 0
	for _, path := range found {
		binDir := filepath.Dir(path)
		name := filepath.Base(filepath.Dir(binDir))
		release, err := strconv.Atoi(name)
		if err != nil || major != "" && name != major {
			continue
		}
		if release > bestRelease {
			best, bestRelease = binDir, release
		}
	}
	return best
}

// barrier names the topmost directory above the cluster that others may not pass.
func (c *Cluster) barrier() string {
	barrier := c.dir
	for dir := c.dir; dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode()&0o001 == 0 {
			barrier = dir
		}
	}
	return barrier
}

// initialize makes the cluster if it does not exist. initdb works in a directory
// that becomes "data" only when it is complete, so that one that was killed is made anew.
func (c *Cluster) initialize(ctx context.Context, install installation) error {
	if _, err := os.Stat(filepath.Join(c.dataDir(), "PG_VERSION")); err == nil {
		return nil
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(c.dir, &disk); err == nil {
		if free := disk.Bavail * uint64(disk.Bsize); free < minFree {
			return coderunner.Errorf(coderunner.Unavailable, "The disk that holds %s has %d MB free; a new database needs %d MB. Free some space and start again.",
				c.dir, free>>20, minFree>>20)
		}
	}
	fresh := c.dataDir() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return c.explain(err, "remove an unfinished database")
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return c.explain(err, "make the database's directory")
	}
	if err := c.account.own(fresh); err != nil {
		return c.explain(err, "hand the database's directory to its account")
	}
	c.say("Making the database in %s with PostgreSQL %s.", c.dataDir(), install.major)
	cmd := exec.CommandContext(ctx, install.path("initdb"), "--pgdata="+fresh, "--username="+superuser,
		"--encoding=UTF8", "--locale=C.UTF-8", "--auth=reject", "--data-checksums", "--no-instructions")
	c.account.become(cmd)
	cmd.Dir = "/"
	if output, err := cmd.CombinedOutput(); err != nil {
		_ = os.RemoveAll(fresh)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return c.explainOutput(output, "make the database", err)
	}
	if err := os.Rename(fresh, c.dataDir()); err != nil {
		return c.explain(err, "put the new database in its place")
	}
	return syncDir(c.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// explain makes a sentence out of a failed file operation.
func (c *Cluster) explain(err error, doing string) error {
	return c.explainOutput(nil, doing, err)
}

// explainOutput makes a sentence out of what a program of PostgreSQL printed.
func (c *Cluster) explainOutput(output []byte, doing string, err error) error {
	if fullDisk(err, output) {
		return coderunner.Wrap(fmt.Errorf("%s: %w: %s", doing, err, lastLines(output)), coderunner.Unavailable,
			"The disk that holds %s is full, so CodeRunner could not %s. Free some space and start again.", c.dir, doing)
	}
	if len(output) == 0 {
		return coderunner.Wrap(err, coderunner.Unavailable, "CodeRunner could not %s in %s: %v.", doing, c.dir, err)
	}
	return coderunner.Wrap(err, coderunner.Unavailable, "CodeRunner could not %s in %s. PostgreSQL said: %s", doing, c.dir, lastLines(output))
}

// fullDisk recognises it in an error and in what a program has printed.
func fullDisk(err error, output []byte) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		bytes.Contains(output, []byte("No space left on device")) || bytes.Contains(output, []byte("Disk quota exceeded"))
}

func lastLines(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], " / ")
}
