package project

import (
	"context"
	"errors"
	"io/fs"

	"github.com/coderunner/coderunner/internal/analyzer"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// Tree opens a bundle's files by its address. The caller closes it.
func (s *Service) Tree(sha string) (*bundle.Tree, error) { return s.bundles.FS(sha) }

// Analyze makes the plan of another folder of a bundle. The plan's Root, which is the
// workspace's for a package of one, and its candidates are relative to the top of the bundle; the candidates that the whole
// bundle has stay on offer.
func (s *Service) Analyze(ctx context.Context, userID, bundleID, root string) (coderunner.Plan, error) {
	b, err := s.store.Bundle(ctx, userID, bundleID)
	if err != nil {
		return coderunner.Plan{}, err
	}
	tree, err := s.tree(b, root)
	if err != nil {
		return coderunner.Plan{}, err
	}
	defer tree.Close()
	plan, err := analyzer.AnalyzeFolder(tree, root)
	if err != nil {
		return coderunner.Plan{}, err
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
	tree, err := s.tree(b, root)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	entries, err := fs.ReadDir(tree, root)
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

// tree opens a bundle of which root is known to be a folder.
func (s *Service) tree(b coderunner.Bundle, root string) (*bundle.Tree, error) {
	if !fs.ValidPath(root) {
		return nil, noFolder(root)
	}
	tree, err := s.bundles.FS(b.SHA256)
	if err != nil {
		return nil, err
	}
	info, err := fs.Stat(tree, root)
	if err == nil && !info.IsDir() || errors.Is(err, fs.ErrNotExist) {
		err = noFolder(root)
	}
	if err != nil {
		tree.Close()
		return nil, err
	}
	return tree, nil
}

func noFolder(root string) error {
	return coderunner.FieldError("root", "The upload has no folder %q. Choose one of those it has.", label(root, 60))
}
