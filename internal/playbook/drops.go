package playbook

import (
	"context"

	"github.com/coderunner/coderunner/internal/analyzer"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// Drops lists the columns that a Manifest backend would do away with, compared with the version
// that serves, if a bundle was deployed with a plan. None for other projects and for a first version.
func (e *Engine) Drops(ctx context.Context, userID, projectID, bundleID string, plan coderunner.Plan) ([]coderunner.Drop, error) {
	bundle, err := e.store.Bundle(ctx, userID, bundleID)
	if err != nil || !onManifest(plan) {
		return nil, err
	}
	current, err := e.store.CurrentDeployment(ctx, userID, projectID)
	if coderunner.KindOf(err) == coderunner.NotFound || err == nil && (current.BundleID == "" || !onManifest(current.Plan)) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	serving, err := e.store.BundleByID(ctx, current.BundleID)
	if err != nil {
		return nil, err
	}
	before, err := e.manifestFile(serving.SHA256, current.Plan)
	if err != nil {
		return nil, err
	}
	after, err := e.manifestFile(bundle.SHA256, plan)
	if err != nil {
		return nil, err
	}
	return analyzer.ManifestDrops(before, after), nil
}

func (e *Engine) manifestFile(sha string, plan coderunner.Plan) ([]byte, error) {
	tree, err := e.bundles.FS(sha)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	return analyzer.ManifestFile(tree, plan)
}

// checkDrops refuses a deploy that would do away with data unless its owner has confirmed that.
func (e *Engine) checkDrops(ctx context.Context, userID string, req DeployRequest) error {
	if req.AcceptDrops {
		return nil
	}
	drops, err := e.Drops(ctx, userID, req.ProjectID, req.BundleID, req.Plan)
	if err != nil || len(drops) == 0 {
		return err
	}
	sentence := drops[0].Sentence()
	if len(drops) > 1 {
		sentence += " So it is with " + countNoun(len(drops)-1, "more column") + "."
	}
	return coderunner.FieldError("accept_drops", "%s Confirm that, or put it back into the file and upload again.", sentence)
}
