// Package project is the service for what users own: projects, the source trees
// uploaded to them, and their environment variables.
//
// Every method that takes a user's id answers NotFound about somebody else's
// project, exactly as about one that does not exist. A destroyed project can be
// read and no longer changed: Conflict.
package project

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
)

// Service is safe for concurrent use. Its exported fields are set before it is used.
type Service struct {
	// Room refuses an upload before it is read while there is too little disk. nil allows all.
	Room func() error
	// Quota is what all uploads of a user may take on disk, in bytes; 0 for no limit.
	Quota int64

	store   *store.Store
	bundles *bundle.Store
	keys    *secret.KeyRing
}

// New assembles the service.
func New(st *store.Store, bundles *bundle.Store, keys *secret.KeyRing) *Service {
	return &Service{store: st, bundles: bundles, keys: keys}
}

// Create adds a project. Its slug comes from the name; one that is taken, or was by
// somebody else's destroyed project, gets a random suffix. Conflict when the user has a project of that name.
func (s *Service) Create(ctx context.Context, userID, name string) (coderunner.Project, error) {
	name, err := coderunner.NormalizeProjectName(name)
	if err != nil {
		return coderunner.Project{}, err
	}
	return s.create(ctx, userID, name, nil)
}

// create adds a project and runs then, if given, in the same transaction.
func (s *Service) create(ctx context.Context, userID, name string, then func(*store.Store, coderunner.Project) error) (coderunner.Project, error) {
	var project coderunner.Project
	err := s.withSlug(ctx, userID, name, func(slug string) error {
		return s.store.InTx(ctx, func(st *store.Store) error {
			var err error
			if project, err = st.CreateProject(ctx, userID, name, slug); err != nil || then == nil {
				return err
			}
			return then(st, project)
		})
	})
	return project, err
}

// Rename gives a project another name. Until its first deployment the slug
// follows the name; from then on the address stays what it is.
func (s *Service) Rename(ctx context.Context, userID, projectID, name string) (coderunner.Project, error) {
	name, err := coderunner.NormalizeProjectName(name)
	if err != nil {
		return coderunner.Project{}, err
	}
	project, err := s.live(ctx, userID, projectID)
	if err != nil || project.Name == name {
		return project, err
	}
	deployments, err := s.store.ProjectDeployments(ctx, userID, projectID, 1, 0)
	if err != nil {
		return project, err
	}
	if len(deployments) > 0 || keepsSlug(project.Slug, name) {
		return s.store.RenameProject(ctx, userID, projectID, name, project.Slug)
	}
	err = s.withSlug(ctx, userID, name, func(slug string) error {
		project, err = s.store.RenameProject(ctx, userID, projectID, name, slug)
		return err
	})
	return project, err
}

// live answers a project that can still be changed.
func (s *Service) live(ctx context.Context, userID, projectID string) (coderunner.Project, error) {
	project, err := s.store.Project(ctx, userID, projectID)
	if err == nil && project.DestroyedAt != nil {
		err = coderunner.Errorf(coderunner.Conflict, "This project was destroyed. Drop the folder again to make a new one.")
	}
	return project, err
}

// attempts is how often a name or slug that somebody else took first is chosen anew.
const attempts = 8

// withSlug tries do with slugs for the name until one is not taken. Slugs of destroyed
// projects are their owner's only: links to what was there must not lead to somebody else's.
func (s *Service) withSlug(ctx context.Context, userID, name string, do func(slug string) error) error {
	base := coderunner.Slug(name)
	plain := base != "" && !coderunner.ReservedSlugs[base]
	if base == "" {
		base = "project"
	}
	err := s.store.ReleaseSlug(ctx, userID, base)
	if err != nil {
		return err
	}
	for i := range attempts {
		slug := base
		if !plain || i > 0 {
			slug = base + "-" + suffix()
		}
		taken, lookErr := s.store.SlugTaken(ctx, slug)
		if lookErr != nil {
			return lookErr
		}
		if taken {
			continue
		}
		if err = do(slug); !takenField(err, "slug") {
			return err
		}
	}
	return coderunner.Wrap(err, coderunner.Conflict, "No free address could be found for this name. Choose another name.")
}

// keepsSlug reports whether slug is what the name would be given, suffix aside.
func keepsSlug(slug, name string) bool {
	base := coderunner.Slug(name)
	return base != "" && slug == base
}

// suffix is six random letters and digits.
func suffix() string { return strings.ToLower(rand.Text()[:6]) }

// takenField reports whether err says that the field's value is taken.
func takenField(err error, field string) bool {
	var e *coderunner.Error
	return errors.As(err, &e) && e.Kind == coderunner.Conflict && e.Field == field
}

// FreeName answers wanted, made fit to be a name, or "wanted 2" and so on when
// the user has a live project of that name.
func (s *Service) FreeName(ctx context.Context, userID, wanted string) (string, error) {
	wanted = tidy(wanted)
	for n := 1; n <= 1000; n++ {
		name := wanted
		if n > 1 {
			tail := fmt.Sprintf(" %d", n)
			name = strings.TrimSpace(clip(wanted, coderunner.MaxProjectName-len(tail))) + tail
		}
		taken, err := s.store.ProjectNameTaken(ctx, userID, name)
		if err != nil || !taken {
			return name, err
		}
	}
	return "", coderunner.FieldError("name", "You have too many projects of that name. Choose another name.")
}

// tidy makes a project's name out of what a folder or archive is called.
func tidy(wanted string) string {
	wanted = strings.ToValidUTF8(wanted, "")
	wanted = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, wanted)
	if wanted = strings.TrimSpace(clip(strings.TrimSpace(wanted), coderunner.MaxProjectName)); wanted == "" {
		return "app"
	}
	return wanted
}

// nameOf is the name of a project that came as a file: without folder and archive suffix.
func nameOf(filename string) string {
	name := path.Base(strings.ReplaceAll(filename, `\`, "/"))
	lower := strings.ToLower(name)
	for _, suffix := range []string{".tar.gz", ".tar.zst", ".tgz", ".tar", ".zip"} {
		if strings.HasSuffix(lower, suffix) {
			return name[:len(name)-len(suffix)]
		}
	}
	if name == "." || name == "/" {
		return ""
	}
	return name
}

// clip shortens text to n characters.
func clip(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n])
}
