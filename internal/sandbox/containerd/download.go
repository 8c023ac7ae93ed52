package containerd

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/fetch"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// defaultGoProxy is Go's own.
const defaultGoProxy = "https://proxy.golang.org"

const (
	downloadTime    = 15 * time.Minute
	downloadsAtOnce = 8
	toldSingly      = 8 // of more downloads only their number is told
)

// npmArch is npm's word for this machine's architecture.
var npmArch = map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]

// download fetches what a template wants unpacked into work/downloads, with the place of each
// beside it.
func download(ctx context.Context, from supply, work string, t sandbox.Template, say func(string, ...any)) error {
	dir := filepath.Join(work, "downloads")
	if err := os.MkdirAll(dir, 0o755); err != nil || len(t.Downloads) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	plain, err := SourceClient(from.sources, from.caBundle)
	if err != nil {
		return err
	}
	defer plain.CloseIdleConnections()
	client := fetch.Client{HTTP: plain}
	wanted := slices.DeleteFunc(slices.Clone(t.Downloads), func(d sandbox.Download) bool { return d.Only != "" && d.Only != npmArch })
	if len(wanted) > toldSingly {
		say("Downloading %d packages …", len(wanted))
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(downloadsAtOnce)
	for i, d := range wanted {
		arch, get := npmArch, from.getPackage
		if d.Module != "" {
			arch, get = runtime.GOARCH, from.getModule
		}
		d.Package, d.Version = strings.ReplaceAll(d.Package, "{arch}", arch), strings.ReplaceAll(d.Version, "{arch}", arch)
		if len(wanted) <= toldSingly {
			say("Downloading %s %s …", d.Package+d.Module, d.Version)
		}
		file := filepath.Join(dir, fmt.Sprintf("%04d", i))
		all.Go(func() error {
			integrity := cmp.Or(d.Integrity[arch], d.Integrity["any"])
			if integrity == "" {
				return coderunner.Errorf(coderunner.Invalid, "The template %s has no %s for this machine's architecture, %s.", t.Name, d.Package+d.Module, runtime.GOARCH)
			}
			if err := os.WriteFile(file+".into", []byte(d.Into), 0o600); err != nil {
				return err
			}
			return get(ctx, client, d, integrity, file+".tgz")
		})
	}
	return all.Wait()
}

// getPackage downloads a package of npm's.
func (s supply) getPackage(ctx context.Context, client fetch.Client, d sandbox.Download, integrity, file string) error {
	from := s.registry() + "/" + url.PathEscape(d.Package) + "/-/" + url.PathEscape(d.Package[strings.LastIndex(d.Package, "/")+1:]) + "-" + d.Version + ".tgz"
	sum, err := client.File(ctx, from, file)
	if err != nil {
		return err
	}
	if sum != integrity {
		return notTheFile(d)
	}
	return nil
}

// notTheFile refuses what has another hash than the template was written with.
func notTheFile(d sandbox.Download) error {
	return coderunner.Errorf(coderunner.Invalid, "What the registry gives as %s %s is not the file that this template was written with (its hash is another). Do not use that registry before you know why.", d.Package+d.Module, d.Version)
}
