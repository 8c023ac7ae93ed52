package project

import (
	"context"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/coderunner/coderunner/internal/analyzer"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// Upload reads an archive from r to its end and adds it to a project, with the
// analyzer's plan. omitted is what the sender says it left out itself. A refused
// upload leaves nothing behind; the errors are those of bundle.Save and
// analyzer.Analyze.
func (s *Service) Upload(ctx context.Context, userID, projectID string, r io.Reader, filename string, omitted []string) (coderunner.Bundle, error) {
	if _, err := s.live(ctx, userID, projectID); err != nil {
		return coderunner.Bundle{}, err
	}
	return s.save(ctx, userID, r, filename, omitted, func(b coderunner.Bundle) (coderunner.Bundle, error) {
		if _, err := s.live(ctx, userID, projectID); err != nil { // it may have been destroyed meanwhile
			return b, err
		}
		b.ProjectID = projectID
		return s.store.CreateBundle(ctx, b)
	})
}

// NewFromUpload makes a project of an upload. Its name is the free one nearest to
// name, or to the file's name where name is "". A refused upload leaves no project.
func (s *Service) NewFromUpload(ctx context.Context, userID, name, filename string, r io.Reader, omitted []string) (coderunner.Project, coderunner.Bundle, error) {
	if strings.TrimSpace(name) == "" {
		name = nameOf(filename)
	}
	var project coderunner.Project
	made, err := s.save(ctx, userID, r, filename, omitted, func(b coderunner.Bundle) (made coderunner.Bundle, err error) {
		for range attempts {
			var free string
			if free, err = s.FreeName(ctx, userID, name); err != nil {
				return b, err
			}
			project, err = s.create(ctx, userID, free, func(st *store.Store, p coderunner.Project) error {
				b.ProjectID = p.ID
				made, err = st.CreateBundle(ctx, b)
				return err
			})
			if !takenField(err, "name") {
				break
			}
		}
		return made, err
	})
	return project, made, err
}

// Uploads counts a project's bundles and the bytes that they take on disk.
func (s *Service) Uploads(ctx context.Context, userID, projectID string) (count int, bytes int64, err error) {
	return s.store.ProjectUploads(ctx, userID, projectID)
}

// save stores the archive, makes its plan and has record note both down.
func (s *Service) save(ctx context.Context, userID string, r io.Reader, filename string, omitted []string, record func(coderunner.Bundle) (coderunner.Bundle, error)) (coderunner.Bundle, error) {
	if s.Room != nil {
		if err := s.Room(); err != nil {
			return coderunner.Bundle{}, err
		}
	}
	if err := s.withinQuota(ctx, userID, 1); err != nil {
		return coderunner.Bundle{}, err
	}
	filename = label(filename, 200)
	var made coderunner.Bundle
	_, err := s.bundles.Save(ctx, r, bundle.Options{Filename: filename, Record: func(saved bundle.Saved) error {
		if err := s.withinQuota(ctx, userID, saved.SizeBytes); err != nil {
			return err
		}
		plan, err := s.analyze(saved.SHA256)
		if err != nil {
			return err
		}
		made, err = record(coderunner.Bundle{
			SHA256: saved.SHA256, Filename: filename, SizeBytes: saved.SizeBytes, ExpandedBytes: saved.ExpandedBytes,
			Files: saved.Files, Omitted: mergeOmitted(omitted, saved.Omitted), Plan: plan,
		})
		return err
	}})
	return made, err
}

// withinQuota refuses bytes more than a user may store: TooLarge. Uploads at the same
// moment may together get a little over it.
func (s *Service) withinQuota(ctx context.Context, userID string, bytes int64) error {
	if s.Quota == 0 {
		return nil
	}
	stored, err := s.store.UserUploadBytes(ctx, userID)
	if err != nil || stored+bytes <= s.Quota {
		return err
	}
	return coderunner.Errorf(coderunner.TooLarge, "Your uploads take %d MB on this server, and with this one they would be over the limit of %d MB. Uploads that nothing uses go by themselves after a day; destroy projects that you do not need.", stored>>20, s.Quota>>20)
}

func (s *Service) analyze(sha string) (coderunner.Plan, error) {
	tree, err := s.bundles.FS(sha)
	if err != nil {
		return coderunner.Plan{}, err
	}
	defer tree.Close()
	return analyzer.Analyze(tree)
}

// maxOmitted bounds what a sender may say about what it left out.
const maxOmitted = 100

// mergeOmitted lists what the sender and the server left out, each thing once:
// of both, the server's word counts.
func mergeOmitted(sent []string, found []bundle.Omission) []string {
	all := []string{}
	for _, omission := range found {
		all = append(all, omission.String())
	}
	for _, line := range sent[:min(len(sent), maxOmitted)] {
		line = label(line, 200)
		name, _, _ := strings.Cut(line, " (")
		name, _, _ = strings.Cut(name, ": ")
		known := slices.ContainsFunc(found, func(o bundle.Omission) bool { return o.Name == name })
		if line != "" && !known && !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	return all
}

// label makes one line of valid text, at most n characters, of what a client sent.
func label(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	return clip(strings.TrimSpace(text), n)
}
