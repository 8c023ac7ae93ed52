package containerd

import (
	"cmp"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// Where templates' downloads come from unless another place is named: npm's own registry, and Go's own proxy.
const (
	defaultRegistry = "https://registry.npmjs.org"
	defaultGoProxy  = "https://proxy.golang.org"
)

// registries are where templates' downloads come from.
type registries struct{ npm, golang string }

const (
	downloadTime  = 15 * time.Minute
	downloadBytes = 512 << 20 // the largest archive
)

// npmArch is npm's word for this machine's architecture.
var npmArch = map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]

// fetch downloads what a template wants unpacked into work/downloads, with the place of each
// beside it. Proxies are as this process's environment says.
func fetch(ctx context.Context, from registries, work string, t sandbox.Template, say func(string, ...any)) error {
	dir := filepath.Join(work, "downloads")
	if err := os.MkdirAll(dir, 0o755); err != nil || len(t.Downloads) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	for i, d := range t.Downloads {
		arch, get := npmArch, from.getPackage
		if d.Module != "" {
			arch, get = runtime.GOARCH, from.getModule
		}
		d.Package, d.Version = strings.ReplaceAll(d.Package, "{arch}", arch), strings.ReplaceAll(d.Version, "{arch}", arch)
		integrity := cmp.Or(d.Integrity[arch], d.Integrity["any"])
		if integrity == "" {
			return coderunner.Errorf(coderunner.Invalid, "The template %s has no %s for this machine's architecture, %s.", t.Name, d.Package+d.Module, runtime.GOARCH)
		}
		say("Downloading %s %s …", d.Package+d.Module, d.Version)
		file := filepath.Join(dir, fmt.Sprintf("%02d", i))
		if err := os.WriteFile(file+".into", []byte(d.Into), 0o600); err != nil {
			return err
		}
		if err := get(ctx, d, integrity, file+".tgz"); err != nil {
			return err
		}
	}
	return nil
}

// getPackage downloads a package of npm's.
func (r registries) getPackage(ctx context.Context, d sandbox.Download, integrity, file string) error {
	from := r.npm + "/" + url.PathEscape(d.Package) + "/-/" + url.PathEscape(d.Package[strings.LastIndex(d.Package, "/")+1:]) + "-" + d.Version + ".tgz"
	sum := sha512.New()
	if err := download(ctx, from, file, sum); err != nil {
		return err
	}
	if "sha512-"+base64.StdEncoding.EncodeToString(sum.Sum(nil)) != integrity {
		return notTheFile(from)
	}
	return nil
}

// notTheFile refuses what has another hash than the template was written with.
func notTheFile(from string) error {
	return coderunner.Errorf(coderunner.Invalid, "What %s gives is not the file that this template was written with (its hash is another). Do not use that registry before you know why.", from)
}

// download writes what is at an address into a new file, and into also.
func download(ctx context.Context, from, file string, also io.Writer) error {
	unreachable := func(err error) error {
		return coderunner.Wrap(err, coderunner.Unavailable, "%s could not be downloaded. Check this machine's network and its proxy settings, and try again.", from)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return unreachable(errors.New(res.Status))
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	n, err := io.Copy(io.MultiWriter(out, also), io.LimitReader(res.Body, downloadBytes+1))
	if err != nil {
		if isDiskFull(err) {
			return err
		}
		return unreachable(err)
	}
	if n > downloadBytes {
		return notTheFile(from)
	}
	return out.Close()
}
