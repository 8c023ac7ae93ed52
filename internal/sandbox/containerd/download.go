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
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// defaultRegistry is npm's own.
const defaultRegistry = "https://registry.npmjs.org"

const (
	downloadTime  = 15 * time.Minute
	downloadBytes = 512 << 20 // the largest archive

	downloadsAtOnce = 8
	toldSingly      = 8 // of more downloads only their number is told
)

// npmArch is npm's word for this machine's architecture.
var npmArch = map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]

// fetch downloads what a template wants unpacked into work/downloads, with the place of each
// beside it. Proxies are as this process's environment says.
func fetch(ctx context.Context, registry, work string, t sandbox.Template, say func(string, ...any)) error {
	dir := filepath.Join(work, "downloads")
	if err := os.MkdirAll(dir, 0o755); err != nil || len(t.Downloads) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	wanted := slices.DeleteFunc(slices.Clone(t.Downloads), func(d sandbox.Download) bool { return d.Only != "" && d.Only != npmArch })
	if len(wanted) > toldSingly {
		say("Downloading %d packages …", len(wanted))
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(downloadsAtOnce)
	for i, d := range wanted {
		name := strings.ReplaceAll(d.Package, "{arch}", npmArch)
		if len(wanted) <= toldSingly {
			say("Downloading %s %s …", name, d.Version)
		}
		file := filepath.Join(dir, fmt.Sprintf("%04d", i))
		all.Go(func() error {
			integrity := cmp.Or(d.Integrity[npmArch], d.Integrity["any"])
			if integrity == "" {
				return coderunner.Errorf(coderunner.Invalid, "The template %s has no %s for this machine's architecture, %s.", t.Name, name, runtime.GOARCH)
			}
			from := registry + "/" + url.PathEscape(name) + "/-/" + url.PathEscape(name[strings.LastIndex(name, "/")+1:]) + "-" + d.Version + ".tgz"
			if err := os.WriteFile(file+".into", []byte(d.Into), 0o600); err != nil {
				return err
			}
			return download(ctx, from, file+".tgz", integrity)
		})
	}
	return all.Wait()
}

// download writes what is at an address into a new file, and refuses what has another hash.
func download(ctx context.Context, from, file, integrity string) error {
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
	sum := sha512.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(res.Body, downloadBytes+1))
	if err != nil {
		if isDiskFull(err) {
			return err
		}
		return unreachable(err)
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum.Sum(nil)); n > downloadBytes || got != integrity {
		return coderunner.Errorf(coderunner.Invalid, "What %s gives is not the file that this template was written with (its hash is another). Do not use that registry before you know why.", from)
	}
	return out.Close()
}
