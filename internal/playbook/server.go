package playbook

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// databaseProcess is the name of a database's long-lived process in its sandbox.
const databaseProcess = "database"

// databaseReady bounds how long a database may take to accept connections, crash recovery included.
const databaseReady = 2 * time.Minute

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
