package containerd

import (
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

// defaultRegistry is npm's own.
const defaultRegistry = "https://registry.npmjs.org"

const (
	downloadTime  = 15 * time.Minute
	downloadBytes = 512 << 20 // the largest archive
)

// npmArch is npm's word for this machine's architecture.
var npmArch = map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]

// fetch downloads what a template wants unpacked into work/downloads, with the place of each
// beside it.
func fetch(ctx context.Context, source supply, work string, t sandbox.Template, say func(string, ...any)) error {
	dir := filepath.Join(work, "downloads")
	if err := os.MkdirAll(dir, 0o755); err != nil || len(t.Downloads) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	client, err := SourceClient(source.sources, source.caBundle)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	for i, d := range t.Downloads {
		name := strings.ReplaceAll(d.Package, "{arch}", npmArch)
		integrity := d.Integrity[npmArch]
		if integrity == "" {
			integrity = d.Integrity["any"]
		}
		if integrity == "" {
			return coderunner.Errorf(coderunner.Invalid, "The template %s has no %s for this machine's architecture, %s.", t.Name, name, runtime.GOARCH)
		}
		say("Downloading %s %s …", name, d.Version)
		from := source.registry() + "/" + url.PathEscape(name) + "/-/" + url.PathEscape(name[strings.LastIndex(name, "/")+1:]) + "-" + d.Version + ".tgz"
		file := filepath.Join(dir, fmt.Sprintf("%02d", i))
		if err := os.WriteFile(file+".into", []byte(d.Into), 0o600); err != nil {
			return err
		}
		if err := download(ctx, client, from, file+".tgz", integrity); err != nil {
			return err
		}
	}
	return nil
}

// download writes what is at an address into a new file, and refuses what has another hash.
func download(ctx context.Context, client *http.Client, from, file, integrity string) error {
	address, err := url.Parse(from)
	if err != nil {
		return err
	}
	user := address.User
	address.User = nil // errors have the address
	unreachable := func(err error) error {
		return coderunner.Wrap(err, coderunner.Unavailable, "%s could not be downloaded. Check this machine's network and its proxy settings, and try again.", address)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return err
	}
	if user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	res, err := client.Do(req)
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
		return coderunner.Errorf(coderunner.Invalid, "What %s gives is not the file that this template was written with (its hash is another). Do not use that registry before you know why.", address)
	}
	return out.Close()
}
