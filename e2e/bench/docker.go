package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing/fstest"
	"time"

	"github.com/coderunner/coderunner/internal/sandbox/containerd"
)

// docker does with an app what we do with it: an image on the same root, built with
// the lockfile's layer cached, and a container of it until the new version answers.
type docker struct {
	name, base, container string
}

// dockerfile has the usual order: what changes least comes first.
const dockerfile = `FROM %s
WORKDIR /app
COPY --chown=%s package.json package-lock.json ./
RUN NODE_EXTRA_CA_CERTS=` + containerd.CABundlePath + ` npm ci --no-fund --no-audit
COPY --chown=%s . .
ENV NODE_ENV=production PORT=3000
CMD ["node", "index.js"]
`

// openDocker imports the template's root; nil when no Docker engine answers here.
func (b *bench) openDocker(ctx context.Context, bare *bare, name string) (_ *docker, err error) {
	if err := exec.CommandContext(ctx, "docker", "info").Run(); err != nil {
		return nil, nil
	}
	root, err := bare.roots.mount(ctx, "docker-"+name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.remove()) }()
	if err := bare.furnish(root, fstest.MapFS{}); err != nil {
		return nil, err
	}
	d := &docker{name: "coderunner-bench-" + name, base: "coderunner-bench-" + name + ":base"}
	tar := exec.CommandContext(ctx, "tar", "--one-file-system", "-C", root.dir, "-c", ".")
	stream, err := tar.StdoutPipe()
	if err != nil {
		return nil, err
	}
	args := []string{"import", "--change", "USER " + root.user}
	for _, pair := range root.env {
		args = append(args, "--change", "ENV "+pair)
	}
	load := exec.CommandContext(ctx, "docker", append(args, "-", d.base)...)
	load.Stdin = stream
	if err := tar.Start(); err != nil {
		return nil, err
	}
	out, err := load.CombinedOutput()
	if err := errors.Join(err, tar.Wait()); err != nil {
		return nil, fmt.Errorf("docker import: %w\n%s", err, out)
	}
	return d, nil
}

// deploy builds and runs the app's version, until it answers; the one before goes then.
func (d *docker) deploy(ctx context.Context, root *roots, files fs.FS, version string) (took time.Duration, err error) {
	dir, err := os.MkdirTemp("", "docker-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.CopyFS(dir, files); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), fmt.Appendf(nil, dockerfile, d.base, root.user, root.user), 0o644); err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, err := d.run(ctx, "build", "--quiet", "--tag", d.name, dir); err != nil {
		return 0, err
	}
	next, err := d.run(ctx, "run", "--detach", d.name)
	if err != nil {
		return 0, err
	}
	before := d.container
	d.container = next
	address, err := d.run(ctx, "inspect", "--format", "{{.NetworkSettings.IPAddress}}", next)
	if err != nil {
		return 0, err
	}
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for text := ""; text != version; {
		if limit.Err() != nil {
			logs, _ := d.run(ctx, "logs", next)
			return 0, fmt.Errorf("the container does not answer %q: %w\n%s", version, limit.Err(), logs)
		}
		if res, err := http.Get("http://" + address + ":3000/"); err == nil {
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			text = string(body)
			continue
		}
		time.Sleep(5 * time.Millisecond)
	}
	took = time.Since(begin)
	if before != "" {
		_, err = d.run(ctx, "rm", "--force", before)
	}
	return took, err
}

func (d *docker) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=1")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		return "", fmt.Errorf("docker %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// close removes what was made, whatever of it there is.
func (d *docker) close() {
	if d.container != "" {
		_, _ = d.run(context.Background(), "rm", "--force", d.container)
	}
	_, _ = d.run(context.Background(), "rmi", "--force", d.name, d.base)
}
