package playbook

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// DeleteDatabasePlaybook ends a detached database: its volume goes, and nothing brings it back.
const DeleteDatabasePlaybook = "delete_database"

func deleteDatabaseSteps() []coderunner.Step {
	return []coderunner.Step{{Name: "database_volume", Title: "Delete the data"}}
}

func deleteDatabasePlaybook() playbook {
	return playbook{
		steps: map[string]action{"database_volume": {do: removeDatabaseVolume, final: true}},
		succeed: func(ctx context.Context, x *execution, s *store.Store) error {
			return s.DeleteDatabase(ctx, x.run.Options.Detach)
		},
		fail: keepsStatus,
	}
}

// removeDatabaseVolume deletes a database's data, unless it was attached since that was asked for.
func removeDatabaseVolume(ctx context.Context, st *step) error {
	d, err := st.subject(ctx)
	if err != nil {
		return err
	}
	if d.DetachedAt == nil {
		return coderunner.Errorf(coderunner.Conflict, "%s was attached again meanwhile. Nothing was deleted.", st.e.title(d.Appliance))
	}
	if err := st.remove(ctx, databaseSandbox(d.ID)); err != nil {
		return err
	}
	if err := st.e.provider.RemoveVolume(ctx, d.Volume); err != nil {
		return err
	}
	st.say("Deleted the volume %s with all that %s had in it.", d.Volume, st.e.title(d.Appliance))
	return nil
}

// DeleteDatabase begins to delete a detached database and its data; confirm must be its
// appliance's name. Conflict while it is attached.
func (e *Engine) DeleteDatabase(ctx context.Context, userID, projectID, name, confirm string) (coderunner.Run, error) {
	return e.aboutDatabase(ctx, userID, projectID, false, func(s *store.Store, project coderunner.Project, _ *coderunner.Plan) (n store.NewRun, err error) {
		d, err := ownDatabase(ctx, s, project.ID, name)
		if err != nil {
			return n, err
		}
		if d.DetachedAt == nil {
			return n, coderunner.Errorf(coderunner.Conflict, "%s is attached to the app. Detach it first.", e.title(name))
		}
		if confirm != name {
			return n, coderunner.FieldError("confirm", "That is not the database's name. Type %q to delete it.", name)
		}
		return store.NewRun{Playbook: DeleteDatabasePlaybook, Options: coderunner.RunOptions{Detach: d.ID}, Steps: deleteDatabaseSteps()}, nil
	})
}
