package playbook

import (
	"context"
	"errors"
	"slices"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
)

// Databases lists the databases of a user's project, oldest first and those that are
// detached among them, with how apps reach them. The passwords are left out: those are told to the apps alone.
func (e *Engine) Databases(ctx context.Context, userID, projectID string) ([]coderunner.DatabaseStatus, error) {
	project, err := e.store.Project(ctx, userID, projectID)
	if err != nil {
		return nil, err
	}
	databases, err := e.store.AllDatabases(ctx, project.ID)
	if err != nil {
		return nil, err
	}
	records, err := e.store.ProjectSandboxes(ctx, project.ID)
	if err != nil {
		return nil, err
	}
	current, err := e.store.CurrentDeployment(ctx, userID, project.ID)
	if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return nil, err
	}
	list := make([]coderunner.DatabaseStatus, len(databases))
	for i, d := range databases {
		list[i].Database = d.Database
		list[i].Pending = current.Status == coderunner.Running && (d.DetachedAt == nil && d.Sealed != nil) != slices.Contains(current.AppliedDatabases, d.ID)
		for _, r := range records {
			if r.DatabaseID == d.ID {
				list[i].Sandbox = &r
			}
		}
		if d.Sealed == nil {
			continue
		}
		c, err := e.openConnection(d)
		if errors.Is(err, secret.ErrCannotOpen) {
			list[i].Unreadable = true
			continue
		}
		if err != nil {
			return nil, err
		}
		c.Password = ""
		list[i].Connection = &c
	}
	return list, nil
}

// provisioned are the ids of those that an app can be given.
func provisioned(databases []store.SealedDatabase) []string {
	ids := []string{}
	for _, d := range databases {
		if d.Sealed != nil {
			ids = append(ids, d.ID)
		}
	}
	return ids
}
