package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge"
)

// route is a coderunner.Route as it is told and kept: what the edge needs of it.
type route struct {
	Host    string `json:"host"`
	Sandbox string `json:"sandbox"`
	Target  string `json:"target"`
	Stopped bool   `json:"stopped,omitempty"`
}

// routes is the whole table. One with a greater revision replaces it.
type routes struct {
	Revision int64   `json:"revision"`
	Routes   []route `json:"routes"`
}

func tableOf(list []coderunner.Route, revision int64) routes {
	t := routes{Revision: revision, Routes: make([]route, 0, len(list))}
	for _, r := range list {
		t.Routes = append(t.Routes, route{Host: r.Host, Sandbox: r.SandboxID, Target: r.Target, Stopped: r.Stopped})
	}
	slices.SortFunc(t.Routes, func(a, b route) int { return strings.Compare(a.Host, b.Host) })
	return t
}

// table gives the edge its routes and keeps them in a file, so that the next
// process serves before anybody tells it any.
type table struct {
	path string
	edge *edge.Edge

	mu     sync.Mutex
	now    routes
	broken []edge.Broken
	kept   bool // the file has these routes
	ours   bool // the file is this process's to write
}

// errOlder refuses a table that another one has replaced already.
var errOlder = errors.New("there is a newer table")

// load serves what the file has. Without a file there are no routes yet.
func (t *table) load() error {
	text, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept routes
	if err := json.Unmarshal(text, &kept); err != nil {
		return fmt.Errorf("the routes in %s: %w", t.path, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if kept.Revision > t.now.Revision {
		t.serve(kept)
		t.kept = true
	}
	return nil
}

// replace serves other routes from now on. That they cannot be kept is an error
// that changes nothing about it.
func (t *table) replace(other routes) ([]edge.Broken, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other.Revision <= t.now.Revision {
		return t.broken, errOlder
	}
	if slices.Equal(other.Routes, t.now.Routes) {
		t.now.Revision = other.Revision
	} else {
		t.serve(other)
		t.kept = false
	}
	if t.kept || !t.ours {
		return t.broken, nil
	}
	err := save(t.path, t.now)
	t.kept = err == nil
	return t.broken, err
}

// serve is called with mu held.
func (t *table) serve(other routes) {
	list := make([]coderunner.Route, 0, len(other.Routes))
	for _, r := range other.Routes {
		list = append(list, coderunner.Route{Host: r.Host, SandboxID: r.Sandbox, Target: r.Target, Stopped: r.Stopped})
	}
	t.now, t.broken = other, t.edge.Replace(list)
}

// own says whether the file is this process's to write.
func (t *table) own(ours bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ours = ours
}

func (t *table) state() (revision int64, broken []edge.Broken) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now.Revision, t.broken
}

// save replaces the file as a whole, or not at all.
func save(path string, t routes) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	begun := path + ".new"
	f, err := os.OpenFile(begun, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(begun, path)
}
