package playbook

import (
	"context"
	"errors"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/secret"
)

// Databases lists the databases of a user's project, oldest first, with how apps
// reach them. The passwords are left out: those are told to the apps alone.
func (e *Engine) Databases(ctx context.Context, userID, projectID string) ([]coderunner.DatabaseStatus, error) {
	project, err := e.store.Project(ctx, userID, projectID)
	if err != nil {
		return nil, err
	}
	databases, err := e.store.ProjectDatabases(ctx, project.ID)
	if err != nil {
		return nil, err
	}
	records, err := e.store.ProjectSandboxes(ctx, project.ID)
	if err != nil {
		return nil, err
	}
	list := make([]coderunner.DatabaseStatus, len(databases))
	for i, d := range databases {
		list[i].Database = d.Database
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
