package project

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"github.com/coderunner/coderunner/internal/analyzer"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// Tree opens a bundle's files by its address. The caller closes it.
func (s *Service) Tree(sha string) (*bundle.Tree, error) { return s.bundles.FS(sha) }

// Analyze makes the plan of another folder of a bundle. The plan's Root and its
// candidates are relative to the top of the bundle; the candidates that the whole
// bundle has stay on offer.
func (s *Service) Analyze(ctx context.Context, userID, bundleID, root string) (coderunner.Plan, error) {
	b, err := s.store.Bundle(ctx, userID, bundleID)
	if err != nil {
		return coderunner.Plan{}, err
	}
	below, closeTree, err := s.folder(b, root)
	if err != nil {
		return coderunner.Plan{}, err
	}
	defer closeTree()
	plan, err := analyzer.Analyze(below)
	if err != nil {
		return coderunner.Plan{}, err
	}
	plan.Root = path.Join(root, plan.Root)
	for i := range plan.Candidates {
		plan.Candidates[i].Root = path.Join(root, plan.Candidates[i].Root)
	}
	if len(b.Plan.Candidates) > 0 {
		plan.Candidates = b.Plan.Candidates
	}
	return plan, nil
}

// Found lists the names in a folder of a bundle, directories with a slash, at most limit.
func (s *Service) Found(ctx context.Context, userID, bundleID, root string, limit int) ([]string, error) {
	b, err := s.store.Bundle(ctx, userID, bundleID)
	if err != nil {
		return nil, err
	}
	below, closeTree, err := s.folder(b, root)
	if err != nil {
		return nil, err
	}
	defer closeTree()
	entries, err := fs.ReadDir(below, ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries[:min(len(entries), limit)] {
		name := entry.Name()
		if entry.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	return names, nil
}

// folder opens one folder of a bundle.
func (s *Service) folder(b coderunner.Bundle, root string) (fs.FS, func(), error) {
	if !fs.ValidPath(root) {
		return nil, nil, noFolder(root)
	}
	tree, err := s.bundles.FS(b.SHA256)
	if err != nil {
		return nil, nil, err
	}
	info, err := fs.Stat(tree, root)
	if err == nil && !info.IsDir() || errors.Is(err, fs.ErrNotExist) {
		err = noFolder(root)
	}
	if err != nil {
		tree.Close()
		return nil, nil, err
	}
	below, err := fs.Sub(tree, root)
	if err != nil {
		tree.Close()
		return nil, nil, err
	}
	return below, func() { tree.Close() }, nil
}

func noFolder(root string) error {
	return coderunner.FieldError("root", "The upload has no folder %q. Choose one of those it has.", label(root, 60))
}
