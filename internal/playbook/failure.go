package playbook

import (
	"context"

	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/diagnosis"
)

// diagnose turns evidence into the failure that ends the run.
func (st *step) diagnose(ctx context.Context, ev diagnosis.Evidence) error {
	lines, err := st.lastLines(ctx)
	if err != nil {
		return err
	}
	b, upload, err := st.upload(ctx)
	switch {
	case err == nil:
		defer upload.Close()
		ev.Upload = upload
	case coderunner.KindOf(err) != coderunner.NotFound: // of an old release, it may be gone
		return err
	}
	databases, err := st.e.store.ProjectDatabases(ctx, st.project.ID)
	if err != nil {
		return err
	}
	for _, d := range databases {
		ev.Databases = append(ev.Databases, d.Appliance)
	}
	for _, def := range st.e.catalogue.All() {
		ev.Offered = append(ev.Offered, def.Name)
	}
	ev.Lines, ev.Plan, ev.Proposed, ev.Memory = lines, st.deployment.Plan, &b.Plan, st.e.cfg.AppLimits.MemoryBytes
	failure := diagnosis.Diagnose(ev)
	return &failure
}

// upload opens the tree that the deployment runs; the caller closes it.
func (x *execution) upload(ctx context.Context) (coderunner.Bundle, *bundle.Tree, error) {
	b, err := x.e.store.BundleByID(ctx, x.deployment.BundleID)
	if err != nil {
		return b, nil, err
	}
	tree, err := x.e.bundles.FS(b.SHA256)
	return b, tree, err
}

// lastLines are the last lines that the user's program printed in the step, already redacted.
func (st *step) lastLines(ctx context.Context) ([]string, error) {
	if err := st.log.Flush(ctx); err != nil {
		return nil, err
	}
	last, err := st.e.store.LastLogSeq(ctx, st.run.ID)
	if err != nil {
		return nil, err
	}
	page, err := st.e.store.LogBefore(ctx, st.run.ID, last+1, 400)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, l := range page {
		if l.Step == st.Name && l.Stream != coderunner.System {
			lines = append(lines, l.Text)
		}
	}
	return lines[max(0, len(lines)-200):], nil
}
