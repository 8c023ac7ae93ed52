package fetch

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// NodeJS provides each version of Node.js that npm's registry has, and keeps those that were used last.
type NodeJS struct {
	Dir      string // where they are kept; made at the first use
	Registry string // "" for npm's own
	Client   Client
}

// keptVersions is how many stay; each takes some 40 MiB.
const keptVersions = 10

// Tar opens a version, "20.11.1", as a tar stream with the folder package, which has bin/node and the headers. It is
// NotFound when there is no such version for this machine, Unavailable when the registry does not give
// it, and Invalid when it gives another file than the one whose hash it states.
func (n NodeJS) Tar(ctx context.Context, version string) (io.ReadCloser, error) {
	kept := filepath.Join(n.Dir, version+".tgz")
	file, err := os.Open(kept)
	if errors.Is(err, os.ErrNotExist) {
		if err := n.fetch(ctx, version, kept); err != nil {
			return nil, err
		}
		file, err = os.Open(kept)
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	_ = os.Chtimes(kept, now, now) // only the order in which they go suffers
	stream, err := gzip.NewReader(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return unzipped{stream, file}, nil
}

// unzipped closes the file with the stream.
type unzipped struct {
	*gzip.Reader
	file io.Closer
}

func (u unzipped) Close() error { return errors.Join(u.Reader.Close(), u.file.Close()) }

// fetch leaves all of the version at kept, or nothing.
func (n NodeJS) fetch(ctx context.Context, version, kept string) error {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	name, registry := "node-linux-"+arch, cmp.Or(n.Registry, NPMRegistry)
	integrity, err := n.stated(ctx, registry+"/"+name+"/"+version, version)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return err
	}
	work, err := os.MkdirTemp(n.Dir, "fetching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	from, file := registry+"/"+name+"/-/"+name+"-"+version+".tgz", filepath.Join(work, "node.tgz")
	sum, err := n.Client.File(ctx, from, file)
	if err != nil {
		return err
	}
	if sum != integrity {
		return coderunner.Errorf(coderunner.Invalid, "What the registry gives as Node.js %s is not the file that it states (its hash is another). Do not use that registry before you know why.", version)
	}
	if err := os.Rename(file, kept); err != nil {
		return err
	}
	return n.trim()
}

// stated is the hash that the registry states of a version.
func (n NodeJS) stated(ctx context.Context, from, version string) (string, error) {
	res, shown, err := n.Client.get(ctx, from)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return "", coderunner.Errorf(coderunner.NotFound, "There is no Node.js %s.", version)
	default:
		return "", unavailable(shown, errors.New(res.Status))
	}
	var about struct {
		Dist struct {
			Integrity string `json:"integrity"`
		} `json:"dist"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&about); err != nil {
		return "", unavailable(shown, err)
	}
	return about.Dist.Integrity, nil
}

// trim removes those that were not used for longest.
func (n NodeJS) trim() error {
	kept, err := filepath.Glob(filepath.Join(n.Dir, "*.tgz"))
	if err != nil {
		return err
	}
	used := map[string]time.Time{}
	for _, file := range kept {
		if info, err := os.Stat(file); err == nil {
			used[file] = info.ModTime()
		}
	}
	slices.SortFunc(kept, func(a, b string) int { return used[b].Compare(used[a]) })
	for _, file := range kept[min(len(kept), keptVersions):] {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
