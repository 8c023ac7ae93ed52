// Package fetch gets files from registries.
package fetch

import (
	"cmp"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"syscall"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// NPMRegistry is npm's own.
const NPMRegistry = "https://registry.npmjs.org"

// maxBytes is the largest file.
const maxBytes = 512 << 20

// Client asks registries, through HTTP if that is set.
type Client struct{ HTTP *http.Client }

// File writes what is at an address into a new file, and answers its hash as npm writes it: "sha512-" and
// base64. It is Unavailable when the address does not give all of it.
func (c Client) File(ctx context.Context, from, file string) (sum string, err error) {
	res, shown, err := c.get(ctx, from)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", unavailable(shown, errors.New(res.Status))
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer out.Close()
	hash := sha512.New()
	n, err := io.Copy(io.MultiWriter(out, hash), io.LimitReader(res.Body, maxBytes+1))
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return "", err
	case err == nil && n > maxBytes:
		err = errors.New("it is larger than 512 MiB")
	}
	if err != nil {
		return "", unavailable(shown, err)
	}
	return "sha512-" + base64.StdEncoding.EncodeToString(hash.Sum(nil)), errors.Join(out.Sync(), out.Close())
}

// get asks for what is at an address. Credentials go into a header, and are not in what is shown of the address.
func (c Client) get(ctx context.Context, from string) (res *http.Response, shown string, err error) {
	address, err := url.Parse(from)
	if err != nil {
		return nil, "", errors.New("the address of a registry cannot be read")
	}
	user := address.User
	address.User = nil
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, "", err
	}
	if user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	client := cmp.Or(c.HTTP, http.DefaultClient)
	if res, err = client.Do(req); err != nil {
		return nil, "", unavailable(address.String(), err)
	}
	return res, address.String(), nil
}

func unavailable(from string, err error) error {
	return coderunner.Wrap(err, coderunner.Unavailable, "%s could not be downloaded. Check this machine's network and its proxy settings, and try again.", from)
}
