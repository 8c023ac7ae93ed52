package pglocal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits sockaddr_un.sun_path with its final NUL.
const maxSocketPath = 107

// logLimit is how large the server's log grows before it is set aside; one old
// log is kept.
const logLimit = 16 << 20

// socketDir is where the socket belongs: Dir/run, or a short directory of its own
// when that path is too long for a socket or has characters that a list of
// directories or of hosts could not carry.
func (c *Cluster) socketDir() (string, error) {
	dir := filepath.Join(c.dir, "run")
	fits := func(dir string) bool {
		return len(fmt.Sprintf("%s/.s.PGSQL.%d", dir, port)) <= maxSocketPath && !strings.ContainsAny(dir, ",\"'\\\n")
	}
	if fits(dir) {
		return dir, nil
	}
	sum := sha256.Sum256([]byte(c.dir))
	name := "coderunner-pg-" + hex.EncodeToString(sum[:6])
	bases := []string{os.Getenv("XDG_RUNTIME_DIR"), "/tmp"}
	if os.Geteuid() == 0 {
		bases = []string{"/run", "/tmp"}
	}
	for _, base := range bases {
		if info, err := os.Stat(base); base == "" || err != nil || !info.IsDir() {
			continue
		}
		if dir := filepath.Join(base, name); fits(dir) {
			return dir, nil
		}
	}
	return "", coderunner.Errorf(coderunner.Unavailable, "The path %s is too long for a socket, and neither /run nor /tmp can be used instead. Choose a shorter data directory.", dir)
}

// makeSocketDir makes the socket's directory. One that exists is used only if it is
// a directory of the cluster's account that nobody else enters: in /tmp anybody could
// have made it.
func (c *Cluster) makeSocketDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = c.account.own(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return c.explain(err, "make the socket's directory "+dir)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return c.explain(err, "look at the socket's directory "+dir)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || stat.Uid != c.account.uid || info.Mode().Perm()&0o077 != 0 {
		return coderunner.Errorf(coderunner.Unavailable, "%s is not a directory that only the account %q may enter. Remove it and start again.", dir, c.account.name)
	}
	return nil
}

// writeConfig writes the server's configuration, which lies outside its data
// directory and belongs to us.
func (c *Cluster) writeConfig(socketDir string) error {
	settings := map[string]string{
		"data_directory":             c.dataDir(),
		"hba_file":                   filepath.Join(c.dir, "pg_hba.conf"),
		"ident_file":                 filepath.Join(c.dir, "pg_ident.conf"),
		"listen_addresses":           "",
		"port":                       fmt.Sprint(port),
		"unix_socket_directories":    socketDir,
		"unix_socket_permissions":    "0700",
		"max_connections":            "100",
		"shared_buffers":             "64MB",
		"work_mem":                   "4MB",
		"maintenance_work_mem":       "32MB",
		"max_wal_size":               "512MB",
		"dynamic_shared_memory_type": "posix",
		"jit":                        "off",
		"fsync":                      "on",
		"timezone":                   "UTC",
		"log_timezone":               "UTC",
		"lc_messages":                "C",
		// Rows and statements hold what users typed; the log is to have neither.
		"log_min_error_statement":  "panic",
		"log_error_verbosity":      "terse",
		"log_parameter_max_length": "0",
	}
	maps.Copy(settings, c.settings)
	var conf strings.Builder
	conf.WriteString("# Written by CodeRunner before each start. Use ALTER SYSTEM for settings of your own.\n")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := strings.NewReplacer(`\`, `\\`, "'", "''", "\n", `\n`).Replace(settings[name])
		fmt.Fprintf(&conf, "%s = '%s'\n", name, value)
	}
	var ident strings.Builder
	for _, system := range slices.Compact([]string{c.account.caller, c.account.name}) {
		for _, name := range []string{superuser, role} {
			fmt.Fprintf(&ident, "coderunner %q %s\n", system, name)
		}
	}
	files := map[string]string{
		"postgresql.conf": conf.String(),
		"pg_hba.conf":     "local all " + superuser + "," + role + " peer map=coderunner\n",
		"pg_ident.conf":   ident.String(),
	}
	for name, text := range files {
		if err := writeFile(filepath.Join(c.dir, name), text); err != nil {
			return c.explain(err, "write "+name)
		}
	}
	return nil
}

// writeFile replaces a file in one rename; the cluster's account may read it.
func writeFile(path, text string) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, []byte(text), 0o644); err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// rotateLog sets a log that has grown too large aside. The server appends to the
// file that it has open, so its content moves and the file stays.
func (c *Cluster) rotateLog() {
	file, err := os.OpenFile(c.logPath(), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() < logLimit {
		return
	}
	old, err := os.OpenFile(c.logPath()+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	defer old.Close()
	if _, err := io.Copy(old, file); err != nil {
		c.say("The database's log could not be set aside: %v", err)
	}
	if err := file.Truncate(0); err != nil {
		c.say("The database's log could not be cut: %v", err)
	}
}

// lock waits for the directory's lock. It ends with our process, whatever ends it.
func (c *Cluster) lock(ctx context.Context) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, c.explain(err, "lock the database's directory")
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, c.explain(err, "lock the database's directory")
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, coderunner.Wrap(ctx.Err(), coderunner.Unavailable, "Another process is starting or stopping the database in %s and has not finished.", c.dir)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
