package playbook

import (
	"context"
	"crypto/rand"
	"encoding/json"

	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// connection opens the database's kept connection, or makes and keeps a new one.
func (st *step) connection(ctx context.Context, def appliance.Definition, d store.SealedDatabase) (coderunner.Connection, error) {
	if d.Sealed != nil {
		return st.e.openConnection(d)
	}
	if err := checkConnection(d); err != nil {
		return coderunner.Connection{}, err
	}
	c := def.Database.Protocol.Connection(d.Name, rand.Text()+rand.Text(), def.Database.Port)
	return c, st.saveConnection(ctx, d.ID, "", c)
}

func (st *step) saveConnection(ctx context.Context, databaseID, sandboxName string, c coderunner.Connection) error {
	plain, err := json.Marshal(c)
	if err != nil {
		return err
	}
	sealed, err := st.e.keys.Seal(st.project.ID, connectionName(databaseID), plain)
	if err != nil {
		return err
	}
	return st.guarded(ctx, func(s *store.Store) error {
		if err := s.SetDatabaseConnection(ctx, databaseID, sandboxName, sealed); err != nil {
			return err
		}
		if sandboxName == "" || st.deployment.ID == "" {
			return nil
		}
		return s.SetDeploymentDatabase(ctx, st.deployment.ID, sandboxName, sealed)
	})
}

// connectionName binds a database's ciphertext to the database.
func connectionName(databaseID string) string { return "database/" + databaseID }

// openConnection decrypts a database's connection.
func (e *Engine) openConnection(d store.SealedDatabase) (coderunner.Connection, error) {
	var c coderunner.Connection
	plain, err := e.keys.Open(d.ProjectID, connectionName(d.ID), d.Sealed)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(plain, &c)
}
