package pglocal

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Tools are the programs of one release that copy databases and bring copies back.
type Tools struct {
	Dir string // has pg_dump and pg_restore; "" looks in PATH
}

// Tools are those of the release that runs the cluster.
func (c *Cluster) Tools() (Tools, error) {
	if c.binDir != "" {
		return Tools{c.binDir}, nil
	}
	major, err := c.clusterMajor()
	return Tools{newestBinDir(major, "pg_dump")}, err
}

// NewestTools are those of the newest release on this machine: they read every older server.
func NewestTools() Tools { return Tools{newestBinDir("", "pg_dump")} }

func (t Tools) command(ctx context.Context, dsn, program string, args ...string) (*exec.Cmd, error) {
	environment, err := environment(dsn)
	if err != nil {
		return nil, err
	}
	path, err := exec.LookPath(filepath.Join(t.Dir, program))
	if err != nil {
		return nil, coderunner.Wrap(err, coderunner.Unavailable, "%s, which copies of the platform's database need, is not on this machine. Install it with apt-get install postgresql-client.", program)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir = environment, "/"
	return cmd, nil
}

// Copy writes the database of dsn to path, readable by us alone. The file appears in one
// rename, once it is on the disk and pg_restore has read its contents. Errors are
// sentences of kind Unavailable; nothing of a failed copy stays.
func (t Tools) Copy(ctx context.Context, dsn, path string) error {
	part := path + ".part"
	file, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return explainCopy(nil, path, err)
	}
	defer os.Remove(part) // no harm once it is renamed
	defer file.Close()
	// It writes the file by its name: what it writes to a pipe has no places to jump to.
	cmd, err := t.command(ctx, dsn, "pg_dump", "--format=custom", "--no-password", "--file="+part)
	if err != nil {
		return err
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		return explainCopy(output, path, errors.Join(ctx.Err(), err))
	}
	if err := file.Sync(); err != nil {
		return explainCopy(nil, path, err)
	}
	if err := t.verify(ctx, dsn, part); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return explainCopy(nil, path, err)
	}
	return syncDir(filepath.Dir(path))
}

// verify reads what is in a copy.
func (t Tools) verify(ctx context.Context, dsn, path string) error {
	cmd, err := t.command(ctx, dsn, "pg_restore", "--list", path)
	if err != nil {
		return err
	}
	output, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(output), " TABLE DATA ") {
		return coderunner.Wrap(fmt.Errorf("pg_restore --list: %w: %s", errors.Join(ctx.Err(), err), lastLines(output)), coderunner.Unavailable, "%s is no copy of a database that pg_restore can read.", path)
	}
	return nil
}

// explainCopy makes a sentence of why a copy was not made.
func explainCopy(output []byte, path string, err error) error {
	said := lastLines(output)
	cause := fmt.Errorf("%w: %s", err, said)
	switch {
	case fullDisk(err, output):
		return coderunner.Wrap(cause, coderunner.Unavailable, "The disk that holds %s is full. Free some space.", filepath.Dir(path))
	case strings.Contains(said, "server version mismatch"):
		return coderunner.Wrap(cause, coderunner.Unavailable, "pg_dump on this machine is older than the database's server. Install the server's release of it (apt-get install postgresql-client-<release>).")
	case said == "":
		return coderunner.Wrap(cause, coderunner.Unavailable, "The copy %s could not be written: %v.", path, err)
	}
	return coderunner.Wrap(cause, coderunner.Unavailable, "pg_dump could not copy the database to %s. It said: %s", path, said)
}

// former is what a database is called that a copy has taken the place of.
const former = Database + "_former"

// Restore puts the copy at path in the place of Database, which nobody may use meanwhile.
// What was there is kept under the name that it answers, until the next time. The copy is
// complete in a database of its own before anything else is changed.
func (c *Cluster) Restore(ctx context.Context, path string) (kept string, err error) {
	tools, err := c.Tools()
	if err != nil {
		return "", err
	}
	const fresh = Database + "_restored"
	if err := tools.verify(ctx, c.DSN(fresh), path); err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, c.dsn(superuser, "postgres"))
	if err != nil {
		return "", c.explain(err, "reach the database")
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// Names take no parameters, and none of this is about our schema: these are no queries of sqlc's.
	do := func(statements ...string) error {
		for _, statement := range statements {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return coderunner.Wrap(fmt.Errorf("%s: %w", statement, err), coderunner.Unavailable, "The copy could not be put in its place: %v.", err)
			}
		}
		return nil
	}
	if err := do("DROP DATABASE IF EXISTS "+fresh+" WITH (FORCE)", "CREATE DATABASE "+fresh+" OWNER "+role+" TEMPLATE template0"); err != nil {
		return "", err
	}
	cmd, err := tools.command(ctx, c.DSN(fresh), "pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", "--dbname="+fresh, path)
	if err != nil {
		return "", err
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		_ = do("DROP DATABASE IF EXISTS " + fresh + " WITH (FORCE)")
		return "", c.explainOutput(output, "bring back "+path, errors.Join(ctx.Err(), err))
	}
	return former, do("DROP DATABASE IF EXISTS "+former, "BEGIN", "ALTER DATABASE "+Database+" RENAME TO "+former, "ALTER DATABASE "+fresh+" RENAME TO "+Database, "COMMIT")
}

// passed are the settings of a connection string that pgx reads and does not answer, with
// the variable that tells them to PostgreSQL's programs.
var passed = map[string]string{"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslsni": "PGSSLSNI",
	"channel_binding": "PGCHANNELBINDING", "target_session_attrs": "PGTARGETSESSIONATTRS", "options": "PGOPTIONS", "krbsrvname": "PGKRBSRVNAME"}

// stronger are the variables that would lead PostgreSQL's programs past those below.
var stronger = []string{"PGSERVICE=", "PGSERVICEFILE=", "PGHOSTADDR="}

var settingPattern = regexp.MustCompile(`(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)`)

// environment tells PostgreSQL's programs where dsn leads. Nothing of it is on a command
// line, which everybody on the machine could read.
func environment(dsn string) ([]string, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, coderunner.Wrap(err, coderunner.Invalid, "The database address is not a PostgreSQL connection string.")
	}
	hosts, ports, known := []string{config.Host}, []string{strconv.Itoa(int(config.Port))}, map[string]bool{}
	known[config.Host+" "+ports[0]] = true
	for _, other := range config.Fallbacks { // with and without TLS, a host is there twice
		if port := strconv.Itoa(int(other.Port)); !known[other.Host+" "+port] {
			known[other.Host+" "+port] = true
			hosts, ports = append(hosts, other.Host), append(ports, port)
		}
	}
	settings := map[string]string{}
	if u, err := url.Parse(dsn); err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
		for key, values := range u.Query() {
			settings[key] = values[0]
		}
	} else {
		for _, m := range settingPattern.FindAllStringSubmatch(dsn, -1) {
			settings[m[1]] = regexp.MustCompile(`\\(.)`).ReplaceAllString(strings.Trim(m[2], "'"), "$1")
		}
	}
	list := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc(stronger, func(name string) bool { return strings.HasPrefix(v, name) })
	})
	list = append(list, "LC_ALL=C", "PGAPPNAME=coderunner", "PGCONNECT_TIMEOUT=10", "PGHOST="+strings.Join(hosts, ","), "PGPORT="+strings.Join(ports, ","),
		"PGUSER="+config.User, "PGPASSWORD="+config.Password, "PGDATABASE="+config.Database)
	for key, value := range settings {
		if name := passed[key]; name != "" {
			list = append(list, name+"="+value)
		}
	}
	return list, nil
}
