package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
)

// bare runs the app with nothing of ours around it: npm and node of the same
// template, in a chroot on the same file system, with a PostgreSQL that is there.
type bare struct {
	b        *bench
	files    fs.FS
	roots    *roots
	database string // connection string
}

const bareDatabase = "bare-database"

func (b *bench) openBare(ctx context.Context, files fs.FS) (*bare, error) {
	roots, err := b.openRoots(ctx, runtimeAppliance)
	if err != nil {
		return nil, err
	}
	database, err := b.startDatabase(ctx, bareDatabase)
	if err != nil {
		roots.close()
		return nil, err
	}
	return &bare{b: b, files: files, roots: roots, database: database}, nil
}

func (a *bare) close() { a.roots.close() }

// startDatabase makes a database of the catalogue, as a deploy would, and answers how to connect.
func (b *bench) startDatabase(ctx context.Context, name string) (string, error) {
	def, err := b.catalogue.Get(databaseAppliance)
	if err != nil {
		return "", err
	}
	template := def.Template()
	if _, err := b.provider.Create(ctx, sandbox.Spec{Name: name, Template: template.TemplateRef, Network: "bare"}); err != nil {
		return "", err
	}
	if err := b.provider.Start(ctx, name, "database", sandbox.Command{Argv: def.Database.StartCommand}); err != nil {
		return "", err
	}
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		exit, err := b.provider.Exec(limit, name, sandbox.Command{Argv: def.Database.ReadyCommand})
		if err != nil {
			return "", err
		}
		if exit.Code == 0 {
			break
		}
	}
	password := "bench-only"
	exit, err := b.provider.Exec(limit, name, sandbox.Command{Argv: def.Database.InitCommand,
		Env: map[string]string{"POSTGRES_USER": "app", "POSTGRES_PASSWORD": password, "POSTGRES_DB": "app"}})
	if err != nil || exit.Code != 0 {
		return "", errors.Join(fmt.Errorf("setting up the database ended with exit code %d", exit.Code), err)
	}
	address, err := b.provider.Address(ctx, name, def.Database.Port)
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "postgres", User: url.UserPassword("app", password), Host: address.Proxy, Path: "/app"}).String(), nil
}

// once installs and starts the app in a fresh root, and says how long npm took and
// how long it was from then to the first 200.
func (a *bare) once(ctx context.Context, key string) (install, start time.Duration, err error) {
	root, err := a.roots.mount(ctx, key)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, root.remove()) }()
	if install, err = a.install(ctx, root, a.files); err != nil {
		return 0, 0, err
	}
	start, err = a.start(ctx, root)
	return install, start, err
}

// install puts the files into a fresh root and runs npm ci there.
func (a *bare) install(ctx context.Context, root *root, files fs.FS) (time.Duration, error) {
	if err := a.furnish(root, files); err != nil {
		return 0, err
	}
	begin := time.Now()
	var out bytes.Buffer
	npm := a.command(ctx, root, &out, "npm", "ci")
	npm.Env = append(npm.Env, "CI=1", "FORCE_COLOR=1", "npm_config_fund=false", "npm_config_audit=false", "npm_config_update_notifier=false", "NODE_EXTRA_CA_CERTS="+containerd.CABundlePath)
	if err := npm.Run(); err != nil {
		return 0, fmt.Errorf("npm ci: %w\n%s", err, out.String())
	}
	return time.Since(begin), nil
}

// start runs the installed app until its first 200.
func (a *bare) start(ctx context.Context, root *root) (time.Duration, error) {
	begin := time.Now()
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	var out bytes.Buffer
	node := a.command(ctx, root, &out, "node", "index.js")
	node.Env = append(node.Env, "NODE_ENV=production", "PORT="+strconv.Itoa(port), "DATABASE_URL="+a.database)
	if err := node.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() { _ = node.Wait(); close(ended) }()
	defer func() { _ = node.Process.Kill(); <-ended }()
	if err := answers(ctx, port, ended); err != nil {
		return 0, fmt.Errorf("%w:\n%s", err, out.String())
	}
	return time.Since(begin), nil
}

// answers waits for the first 200, asking every 5 ms, as the other side is asked.
func answers(ctx context.Context, port int, ended <-chan struct{}) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+strconv.Itoa(port)+"/", nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return errors.New("node ended before it answered")
		case <-tick.C:
		}
	}
}

// furnish puts into the root what a sandbox would have, and the app's files.
func (a *bare) furnish(root *root, files fs.FS) error {
	for _, path := range []string{"/etc/resolv.conf", containerd.CABundlePath} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		inside := filepath.Join(root.dir, path)
		if err := os.MkdirAll(filepath.Dir(inside), 0o755); err != nil {
			return err
		}
		if err := os.Remove(inside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(inside, text, 0o644); err != nil {
			return err
		}
	}
	app := filepath.Join(root.dir, root.workDir)
	if err := os.CopyFS(app, files); err != nil {
		return err
	}
	return filepath.WalkDir(app, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(root.uid), int(root.gid))
	})
}

func (a *bare) command(ctx context.Context, root *root, out *bytes.Buffer, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/usr/bin/env", argv...) // looks in the root's PATH
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = root.workDir, root.env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root.dir, Credential: &syscall.Credential{Uid: root.uid, Gid: root.gid}}
	return cmd
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(port))
}
