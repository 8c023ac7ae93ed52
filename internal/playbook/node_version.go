package playbook

import (
	"archive/tar"
	"bytes"
	"context"
	"io"

	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// exactNodeDir is where the Node.js lies that a project asks for exactly: the folder package of npm's archive.
const exactNodeDir = "/home/app/.nodejs"

// exactNode is the Node.js that the plan asks for exactly, as files of a sandbox that is made from the template of its
// appliance; what is made from a snapshot of that has it already. A version that does not exist is told, and the
// appliance's own is used.
func (x *execution) exactNode(ctx context.Context, step string, def appliance.Definition) []sandbox.Archive {
	version := x.deployment.Plan.Runtime.ExactNode()
	if version == "" || def.Name != x.deployment.Plan.Runtime.Appliance {
		return nil
	}
	return []sandbox.Archive{{Dir: exactNodeDir, Tar: func() (io.ReadCloser, error) {
		stream, err := x.e.cfg.NodeJS(ctx, version)
		if coderunner.KindOf(err) == coderunner.NotFound {
			x.tell(step, "There is no Node.js %s, which the project asks for. %s is used instead.", version, def.Title)
			return emptyTar()
		}
		if err == nil {
			x.tell(step, "Node.js %s is put into the sandbox, as the project asks.", version)
		}
		return stream, err
	}}}
}

// tell says something in the log of the run, if it is one.
func (x *execution) tell(step, format string, args ...any) {
	if x.log != nil {
		x.log.Say(step, format, args...)
	}
}

func emptyTar() (io.ReadCloser, error) {
	var empty bytes.Buffer
	err := tar.NewWriter(&empty).Close()
	return io.NopCloser(&empty), err
}
