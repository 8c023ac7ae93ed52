package playbook

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// databaseProcess is the name of a database's long-lived process in its sandbox.
const databaseProcess = "database"

// databaseReady bounds how long a database may take to accept connections, crash recovery included.
const databaseReady = 2 * time.Minute

// template makes sure that the appliance can be instantiated, telling a build in the log.
func (x *execution) template(ctx context.Context, step string, def appliance.Definition) (sandbox.Template, error) {
	t := def.Template()
	ready, err := x.e.provider.HasTemplate(ctx, t.TemplateRef)
	if err != nil || ready {
		return t, err
	}
	out := x.log.Stream(step, coderunner.System)
	defer out.Close()
	told, first := x.builds.begin(def.Name, out)
	if first {
		x.log.Say(step, "The template %s is not on this machine yet. Building it; this happens once and takes a minute or two.", def.Name)
	}
	begin := time.Now()
	err = x.e.provider.BuildTemplate(ctx, t, told)
	x.builds.end(def.Name, told)
	if err != nil {
		return t, err
	}
	x.log.Say(step, "The template %s is ready after %s.", def.Name, time.Since(begin).Round(time.Second))
	return t, nil
}

// create makes a sandbox, recorded before it exists so that none is ever forgotten.
func (x *execution) create(ctx context.Context, record coderunner.SandboxRecord, spec sandbox.Spec) error {
	record.ID, record.Provider, record.ProjectID = spec.Name, x.e.provider.Name(), x.project.ID
	if err := x.guarded(ctx, func(s *store.Store) error { return s.ExpectSandbox(ctx, record) }); err != nil {
		return err
	}
	info, err := x.e.provider.Create(ctx, spec)
	if err != nil {
		return err
	}
	return x.e.store.GuardedSoon(ctx, x.lease, func(s *store.Store) error { return s.ObserveSandbox(ctx, spec.Name, string(info.State)) })
}

// newDatabase is a project's database of an appliance, before it is provisioned.
func newDatabase(projectID, applianceName string) coderunner.Database {
	kind, _, _ := strings.Cut(applianceName, "-")
	name := coderunner.ProtocolOf(applianceName).DatabaseName()
	return coderunner.Database{ProjectID: projectID, Appliance: applianceName, Name: name, Volume: kind + "-" + projectID}
}

// begunDatabases are those that did not run when their step began.
type begunDatabases struct {
	Started []string `json:"ids,omitempty"`  // they were stopped; for undoing
	Made    []string `json:"made,omitempty"` // they had never been ready; they stay
}

// provisionDatabases makes each database of the project exist, run, and have its role.
func provisionDatabases(ctx context.Context, st *step) error {
	if err := st.become(ctx, coderunner.Provisioning); err != nil {
		return err
	}
	st.letInstallBegin(ctx)
	var begun begunDatabases
	if err := st.output(st.Name, &begun); err != nil {
		return err
	}
	databases, err := st.e.store.ProjectDatabases(ctx, st.project.ID)
	if err != nil {
		return err
	}
	for _, d := range databases {
		if d.StoppedAt != nil {
			begun.Started = append(begun.Started, d.ID)
			err := st.guarded(ctx, func(s *store.Store) error {
				if err := s.SetDatabaseStopped(ctx, d.ID, false); err != nil {
					return err
				}
				return st.save(ctx, s, begun)
			})
			if err != nil {
				return err
			}
		} else if d.SandboxID == "" && !slices.Contains(begun.Made, d.ID) {
			begun.Made = append(begun.Made, d.ID)
			if err := st.leave(ctx, begun); err != nil {
				return err
			}
		}
		if err := st.provisionDatabase(ctx, d); err != nil {
			return err
		}
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

// stopStartedDatabases takes back what the step started. One that the step made stays: it is the project's.
func stopStartedDatabases(ctx context.Context, st *step) error {
	var begun begunDatabases
	if err := st.output(st.Name, &begun); err != nil || len(begun.Started) == 0 {
		return err
	}
	databases, err := st.e.store.ProjectDatabases(ctx, st.project.ID)
	if err != nil {
		return err
	}
	for _, d := range databases {
		if !slices.Contains(begun.Started, d.ID) {
			continue
		}
		if err := st.stopDatabase(ctx, d.Database); err != nil {
			return err
		}
	}
	return nil
}

// abandonStartedDatabases has the reconciler stop them.
func abandonStartedDatabases(ctx context.Context, st *step) error {
	var begun begunDatabases
	if err := st.output(st.Name, &begun); err != nil || len(begun.Started) == 0 {
		return err
	}
	st.say("The databases could not be stopped now; they will be as soon as that is possible.")
	return st.guarded(ctx, func(s *store.Store) error {
		for _, id := range begun.Started {
			if err := s.SetDatabaseStopped(ctx, id, true); err != nil {
				return err
			}
			if err := s.AbandonSandbox(ctx, databaseSandbox(id)); err != nil {
				return err
			}
		}
		return nil
	})
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

// bootDatabase makes the database's sandbox exist and its server listen. Its init
// command, which comes next, waits until it accepts connections.
func (x *execution) bootDatabase(ctx context.Context, step string, def appliance.Definition, d coderunner.Database) error {
	t, err := x.template(ctx, step, def)
	if err != nil {
		return err
	}
	x.log.Say(step, "Starting %s with its data on the volume %s.", def.Title, d.Volume)
	spec := x.databaseSpec(t, def, d)
	if err := x.create(ctx, coderunner.SandboxRecord{Purpose: coderunner.ForDatabase, DatabaseID: d.ID, Appliance: def.Name}, spec); err != nil {
		return err
	}
	err = x.e.provider.Start(ctx, spec.Name, databaseProcess, databaseCommand(def, spec.Limits))
	if err == nil {
		err = awaitDatabase(ctx, x.e.provider, def, spec.Name, nil)
	}
	if err != nil && ctx.Err() == nil {
		x.showDatabase(ctx, step, spec.Name)
	}
	return err
}

// showDatabase puts what a server that did not come up printed last into the log.
func (x *execution) showDatabase(ctx context.Context, step, name string) {
	printed, err := tail(ctx, x.e.provider, name, databaseProcess, 4<<10)
	if err != nil {
		return // there is a better reason to tell already
	}
	out := x.log.Stream(step, coderunner.Stderr)
	defer out.Close()
	_, _ = out.Write(printed)
}

// tail is at most the last n bytes that a process has printed.
func tail(ctx context.Context, provider sandbox.Provider, name, process string, n int) (printed []byte, err error) {
	err = provider.Output(ctx, name, process, 0, false, func(c sandbox.OutputChunk) error {
		printed = append(printed, c.Data...)
		printed = printed[max(0, len(printed)-n):]
		return nil
	})
	return printed, err
}

func (x *execution) databaseSpec(t sandbox.Template, def appliance.Definition, d coderunner.Database) sandbox.Spec {
	spec := sandbox.Spec{Name: databaseSandbox(d.ID), Template: t.TemplateRef, Network: projectNetwork(x.project.ID), Hostname: "database", Limits: x.e.cfg.DatabaseLimits,
		Labels:  map[string]string{labelProject: x.project.ID, labelDatabase: d.ID},
		Volumes: []sandbox.Mount{{Volume: d.Volume, Path: def.Database.VolumePath, Labels: map[string]string{labelProject: x.project.ID}}}}
	if x.has("install") { // which takes longer, and which everything waits for
		spec.Yields = databaseYields
	}
	return spec
}

// databaseCommand is how a database's server is started: it has to stay within the limits.
func databaseCommand(def appliance.Definition, limits sandbox.Limits) sandbox.Command {
	command := sandbox.Command{Argv: def.Database.StartCommand}
	if limits.MemoryBytes > 0 {
		command.Env = map[string]string{"MEMORY_BYTES": strconv.FormatInt(limits.MemoryBytes, 10)}
	}
	return command
}

// awaitDatabase waits until the server in a sandbox listens and the check, if there is
// one, succeeds.
func awaitDatabase(ctx context.Context, provider sandbox.Provider, def appliance.Definition, name string, check []string) error {
	limit, cancel := context.WithTimeout(ctx, databaseReady)
	defer cancel()
	type end struct {
		status sandbox.ProcessStatus
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		status, err := provider.Wait(limit, name, databaseProcess)
		ended <- end{status, err}
	}()
	for {
		ready, err := acceptsConnections(limit, provider, name, def.Database.Port, check)
		switch {
		case err == nil && ready:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case limit.Err() != nil:
			return coderunner.Errorf(coderunner.Unavailable, "%s did not accept connections within %s.", def.Title, databaseReady)
		case err != nil:
			return err
		}
		select {
		case <-limit.Done():
		case <-time.After(20 * time.Millisecond):
		case e := <-ended:
			switch {
			case limit.Err() != nil:
			case e.err != nil:
				return e.err
			default:
				return coderunner.Errorf(coderunner.Unavailable, "%s ended with exit code %d while starting.", def.Title, e.status.Exit.Code)
			}
		}
	}
}

// acceptsConnections looks for the server's socket before it runs the check. To connect
// would have the server start a process, and the app is being installed meanwhile.
func acceptsConnections(ctx context.Context, provider sandbox.Provider, name string, port int, check []string) (bool, error) {
	sockets, err := provider.Listening(ctx, name)
	if err != nil || !slices.ContainsFunc(sockets, func(s sandbox.Socket) bool { return s.Port == port }) {
		return false, err
	}
	if check == nil {
		return true, nil
	}
	exit, err := provider.Exec(ctx, name, sandbox.Command{Argv: check})
	return err == nil && exit.Code == 0, err
}

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
		if sandboxName == "" {
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

// createAppSandbox makes the sandbox that the deployment will live in from its release.
func createAppSandbox(ctx context.Context, st *step) error {
	if err := st.become(ctx, coderunner.Provisioning); err != nil {
		return err
	}
	release := st.deployment.Release
	if release == nil {
		if st.deployment.ReleasedAt != nil || st.run.Playbook == RollbackPlaybook {
			return noRelease(st.deployment)
		}
		made, err := st.release()
		if err != nil {
			return err
		}
		release = &made
	}
	root, err := st.rootFrom(ctx, *release)
	if err != nil {
		return err
	}
	def, err := st.e.serving(st.deployment.Plan)
	if err != nil {
		return err
	}
	begin := time.Now()
	spec, err := st.appSpec(ctx, st.appSandbox(), root)
	if err != nil {
		return err
	}
	err = st.create(ctx, coderunner.SandboxRecord{Purpose: coderunner.ForApp, DeploymentID: st.deployment.ID, RunID: st.run.ID, Appliance: def.Name}, spec)
	if coderunner.KindOf(err) == coderunner.NotFound && root.Snapshot != "" {
		return noRelease(st.deployment)
	}
	if err != nil {
		return err
	}
	what := "Sandbox"
	if release.Code {
		what = "Sandbox with the code"
	}
	st.say("%s made in %d ms.", what, time.Since(begin).Milliseconds())
	for _, v := range spec.Volumes {
		st.say("What it keeps in %s is on the project's volume %s. A version that serves meanwhile uses it too.", v.Path, v.Volume)
	}
	if err := st.e.store.GuardedSoon(ctx, st.lease, func(s *store.Store) error { return s.SetRelease(ctx, st.deployment.ID, release) }); err != nil {
		return err
	}
	st.deployment.Release = release // for the steps that come after
	return nil
}

// release says what comes of the steps before.
func (st *step) release() (coderunner.Release, error) {
	var from built
	for _, name := range []string{"install", "build"} {
		if st.has(name) {
			if err := st.output(name, &from); err != nil {
				return coderunner.Release{}, err
			}
		}
	}
	return coderunner.Release{Snapshot: from.Snapshot, Code: !from.Whole}, nil
}

// noRelease is the end of a run whose version is not kept any more.
func noRelease(d coderunner.Deployment) error {
	return &coderunner.Failure{ID: "release.missing", Blame: coderunner.Ours, Title: fmt.Sprintf("What was built for deployment %d is not on this machine any more.", d.Number),
		Detail: "A restart, a start and a rollback use the files that were kept when it was deployed.", Next: "Redeploy: it installs and builds the same code again."}
}

func (x *execution) appSpec(ctx context.Context, name string, root sandbox.Spec) (spec sandbox.Spec, err error) {
	root.Name, root.Network, root.Hostname, root.Limits = name, projectNetwork(x.project.ID), x.project.Slug, x.e.cfg.AppLimits
	root.Labels = map[string]string{labelProject: x.project.ID, labelDeployment: x.deployment.ID}
	root.Volumes, err = x.appVolumes(ctx)
	return root, err
}

// removeAppSandbox takes back what the run made. The database stays: it is the project's.
func removeAppSandbox(ctx context.Context, st *step) error {
	made, err := st.recorded(ctx, st.appSandbox())
	if err != nil {
		return err
	}
	if err := st.removeApp(ctx, st.appSandbox(), undoGrace); err != nil {
		return err
	}
	if made {
		st.say("Removed the sandbox again.")
	}
	return nil
}

// abandonAppSandbox has the reconciler remove it.
func abandonAppSandbox(ctx context.Context, st *step) error {
	st.say("The sandbox could not be removed now; it will be as soon as that is possible.")
	return st.guarded(ctx, func(s *store.Store) error { return s.AbandonSandbox(ctx, st.appSandbox()) })
}

// remove destroys a sandbox and then forgets it.
func (x *execution) remove(ctx context.Context, name string) error {
	if err := x.e.provider.Destroy(ctx, name); err != nil {
		return err
	}
	return x.guarded(ctx, func(s *store.Store) error { return s.ForgetSandbox(ctx, name) })
}
