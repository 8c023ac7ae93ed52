package playbook

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// newDatabase is a project's database of an appliance, before it is provisioned.
// Its volume has a name that none before it had: what was deleted does not come back.
func newDatabase(projectID, applianceName string) coderunner.Database {
	kind, _, _ := strings.Cut(applianceName, "-")
	name := coderunner.ProtocolOf(applianceName).DatabaseName()
	return coderunner.Database{ProjectID: projectID, Appliance: applianceName, Name: name, Volume: kind + "-" + strings.ToLower(rand.Text())}
}

// begunDatabases are those that did not run when their step began.
type begunDatabases struct {
	Started  []string `json:"ids,omitempty"`      // they were stopped; for undoing
	Made     []string `json:"made,omitempty"`     // they had never been ready; they stay
	Attached []string `json:"attached,omitempty"` // they were detached; for undoing
}

// provisionDatabases makes each database of the project exist, run, and have its role,
// all of them side by side. Those that the run attaches are the project's from here on; a
// run that starts no app is about them alone.
func provisionDatabases(ctx context.Context, st *step) error {
	if err := st.become(ctx, coderunner.Provisioning); err != nil {
		return err
	}
	st.letInstallBegin(ctx)
	var begun begunDatabases
	if err := st.output(st.Name, &begun); err != nil {
		return err
	}
	databases, err := st.toProvision(ctx)
	if err != nil {
		return err
	}
	for _, d := range databases {
		if err := st.beginDatabase(ctx, d, &begun); err != nil {
			return err
		}
	}
	var all errgroup.Group // without a context: what is under way elsewhere need not be done twice
	for _, d := range databases {
		all.Go(func() error { return st.provisionDatabase(ctx, d) })
	}
	return all.Wait()
}

// toProvision are the databases that the step is about.
func (st *step) toProvision(ctx context.Context) ([]store.SealedDatabase, error) {
	all, err := st.e.store.AllDatabases(ctx, st.project.ID)
	if err != nil {
		return nil, err
	}
	for _, id := range st.run.Options.Attach {
		if !slices.ContainsFunc(all, func(d store.SealedDatabase) bool { return d.ID == id }) {
			return nil, deletedMeanwhile()
		}
	}
	return slices.DeleteFunc(all, func(d store.SealedDatabase) bool {
		return !slices.Contains(st.run.Options.Attach, d.ID) && (d.DetachedAt != nil || !st.has("sandbox"))
	}), nil
}

// beginDatabase writes down what will have to be undone, before any of it is done.
func (st *step) beginDatabase(ctx context.Context, d store.SealedDatabase, begun *begunDatabases) error {
	switch {
	case d.DetachedAt != nil:
		begun.Attached = append(begun.Attached, d.ID)
		return st.guarded(ctx, func(s *store.Store) error {
			if err := s.SetDatabaseDetached(ctx, d.ID, false); err != nil {
				return err
			}
			if err := s.SetDatabaseStopped(ctx, d.ID, false); err != nil {
				return err
			}
			return st.save(ctx, s, *begun)
		})
	case d.StoppedAt != nil:
		begun.Started = append(begun.Started, d.ID)
		return st.guarded(ctx, func(s *store.Store) error {
			if err := s.SetDatabaseStopped(ctx, d.ID, false); err != nil {
				return err
			}
			return st.save(ctx, s, *begun)
		})
	case d.SandboxID == "" && !slices.Contains(begun.Made, d.ID) && !slices.Contains(begun.Attached, d.ID):
		begun.Made = append(begun.Made, d.ID)
		return st.leave(ctx, *begun)
	}
	return nil
}

// databaseYields is for how long a new database leaves the processors to the install.
const databaseYields = 2 * time.Second

// installHeadStart is how long a database waits for the install to be under way.
const installHeadStart = 300 * time.Millisecond

// letInstallBegin gives the install, which takes longer and which everything waits
// for, the machine to itself until it is under way.
func (st *step) letInstallBegin(ctx context.Context) {
	if !st.has("install") {
		return
	}
	select {
	case <-st.busy:
	case <-ctx.Done():
	case <-time.After(installHeadStart):
	}
}

// stopStartedDatabases takes back what the step started and attached. One that a deploy made stays: it is the project's.
func stopStartedDatabases(ctx context.Context, st *step) error {
	begun, databases, err := st.begunHere(ctx)
	if err != nil {
		return err
	}
	for _, d := range databases {
		if err := st.stopDatabase(ctx, d.Database); err != nil {
			return err
		}
		if slices.Contains(begun.Attached, d.ID) {
			if err := st.guarded(ctx, func(s *store.Store) error { return s.SetDatabaseDetached(ctx, d.ID, true) }); err != nil {
				return err
			}
			st.say("%s is detached again.", st.e.title(d.Appliance))
		}
	}
	return nil
}

// begunHere are the databases that the step started or attached.
func (st *step) begunHere(ctx context.Context) (begun begunDatabases, databases []store.SealedDatabase, err error) {
	if err := st.output(st.Name, &begun); err != nil || len(begun.Started)+len(begun.Attached) == 0 {
		return begun, nil, err
	}
	all, err := st.e.store.AllDatabases(ctx, st.project.ID)
	return begun, slices.DeleteFunc(all, func(d store.SealedDatabase) bool {
		return !slices.Contains(begun.Started, d.ID) && !slices.Contains(begun.Attached, d.ID)
	}), err
}

// abandonStartedDatabases has the reconciler stop them.
func abandonStartedDatabases(ctx context.Context, st *step) error {
	begun, databases, err := st.begunHere(ctx)
	if err != nil || len(databases) == 0 {
		return err
	}
	st.say("The databases could not be stopped now; they will be as soon as that is possible.")
	return st.guarded(ctx, func(s *store.Store) error {
		for _, d := range databases {
			if err := leaveDatabase(ctx, s, d.ID); err != nil {
				return err
			}
			if !slices.Contains(begun.Attached, d.ID) {
				continue
			}
			if err := s.SetDatabaseDetached(ctx, d.ID, true); err != nil {
				return err
			}
		}
		return nil
	})
}

// leaveDatabase has the reconciler stop one, as soon as that is possible.
func leaveDatabase(ctx context.Context, s *store.Store, id string) error {
	if err := s.SetDatabaseStopped(ctx, id, true); err != nil {
		return err
	}
	return s.AbandonSandbox(ctx, databaseSandbox(id))
}

func (st *step) provisionDatabase(ctx context.Context, d store.SealedDatabase) error {
	def, err := st.e.catalogue.Get(d.Appliance)
	if err != nil {
		return err
	}
	// The password is kept before it is applied: a crash in between must not lose it.
	connection, err := st.connection(ctx, def, d)
	if err != nil {
		return err
	}
	st.redact.Add(connection.Password)
	if err := st.bootDatabase(ctx, st.Name, def, d.Database); err != nil {
		return err
	}
	name := databaseSandbox(d.ID)
	out := st.log.Stream(st.Name, coderunner.Stdout)
	defer out.Close()
	exit, err := st.e.provider.Exec(ctx, name, sandbox.Command{ID: "init", Argv: def.Database.InitCommand, Stdout: out, Stderr: out, Timeout: databaseReady,
		Env: def.Database.Protocol.InitEnvironment(connection)})
	if err != nil {
		return err
	}
	if exit.Code != 0 {
		return coderunner.Errorf(coderunner.Unavailable, "Setting the password of %s ended with exit code %d.", def.Title, exit.Code)
	}
	address, err := st.e.provider.Address(ctx, name, def.Database.Port)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(address.Sibling)
	if err != nil {
		return fmt.Errorf("reading the database's address %q: %w", address.Sibling, err)
	}
	connection.Host = host
	if connection.Port, err = strconv.Atoi(port); err != nil {
		return err
	}
	if err := st.saveConnection(ctx, d.ID, name, connection); err != nil {
		return err
	}
	st.say("%s is ready; the app reaches it through %s.", def.Title, def.Database.Protocol.URLKey())
	return nil
}
