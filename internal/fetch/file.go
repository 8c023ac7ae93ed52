// Package fetch gets files from public registries. Proxies are as this process's environment says.
package fetch

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"syscall"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// maxBytes is the largest file.
const maxBytes = 512 << 20

// File writes what is at an address into a new file, and answers its hash as npm writes it: "sha512-" and
// base64. It is Unavailable when the address does not give all of it.
func File(ctx context.Context, from, file string) (sum string, err error) {
	res, err := get(ctx, from)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", unavailable(from, errors.New(res.Status))
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
		return "", unavailable(from, err)
	}
	return "sha512-" + base64.StdEncoding.EncodeToString(hash.Sum(nil)), errors.Join(out.Sync(), out.Close())
}

func get(ctx context.Context, from string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, unavailable(from, err)
	}
	return res, nil
}

func unavailable(from string, err error) error {
	return coderunner.Wrap(err, coderunner.Unavailable, "%s could not be downloaded. Check this machine's network and its proxy settings, and try again.", from)
}
