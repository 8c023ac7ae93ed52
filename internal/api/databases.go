package api

import (
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Database is a database of a project. Its password is told to the app alone.
type Database struct {
	ID         string                   `json:"id" format:"uuid"`
	Appliance  string                   `json:"appliance" example:"postgres-15"`
	Protocol   coderunner.Protocol      `json:"protocol" enum:"postgresql,mysql,redis" doc:"What its server speaks."`
	State      coderunner.DatabaseState `json:"state" enum:"PENDING,STARTING,RUNNING,STOPPED,DETACHED,CRASHED,DOWN,UNKNOWN" doc:"PENDING: the next deploy makes it. STOPPED: by its owner. DETACHED: the app is not given it; its data is kept. CRASHED: its server has ended by itself, and is started again. DOWN: it should run, and does not or does not answer. UNKNOWN: nobody has looked for a while."`
	ObservedAt *time.Time               `json:"observed_at,omitempty" doc:"When its server was asked last."`
	StoppedAt  *time.Time               `json:"stopped_at,omitempty"`
	DetachedAt *time.Time               `json:"detached_at,omitempty"`
	Applied    bool                     `json:"applied" doc:"Whether the app that runs was started after the database was attached or detached. If not, a restart gives or takes the variables."`
	Restarts   int                      `json:"restarts" doc:"How often in a row it ended by itself and was started again."`
	Host       string                   `json:"host,omitempty" doc:"As the project's sandboxes reach it; nobody else does. Left out until it was started."`
	Port       int                      `json:"port,omitempty"`
	Name       string                   `json:"name" doc:"Of the database within its server; those of Redis have numbers."`
	User       string                   `json:"user,omitempty"`
	Variables  []string                 `json:"variables" nullable:"false" doc:"That the app and its build get; none of a detached one. A variable of the project with the same name takes the place of one."`
	Volume     string                   `json:"volume" doc:"Where its data is. It stays until the detached database is deleted or the project is destroyed."`
	SizeBytes  *int64                   `json:"size_bytes,omitempty" doc:"Of the volume, on disk. Left out where that is not known."`
}

// DatabaseList is all of a project's databases, the oldest first.
type DatabaseList struct {
	Items []Database `json:"items" nullable:"false"`
}

func databaseBody(d coderunner.DatabaseStatus, has []coderunner.Protocol) Database {
	body := Database{ID: d.ID, Appliance: d.Appliance, Protocol: d.Protocol(), State: d.State(time.Now()), ObservedAt: d.ObservedAt(), StoppedAt: d.StoppedAt, DetachedAt: d.DetachedAt, Applied: !d.Pending, Name: d.Name, Variables: d.Protocol().Keys(has...), Volume: d.Volume}
	if d.DetachedAt != nil {
		body.Variables = []string{}
	}
	if d.Sandbox != nil {
		body.Restarts = d.Sandbox.Restarts
	}
	if c := d.Connection; c != nil && c.Host != "" {
		body.Host, body.Port, body.Name, body.User = c.Host, c.Port, c.Database, c.User
	}
	return body
}

type databaseListOutput struct{ Body DatabaseList }

// measureTime bounds how long an answer waits for the sizes of volumes.
const measureTime = 2 * time.Second

func (s *server) listDatabases(ctx context.Context, userID string, in *idInput) (*databaseListOutput, error) {
	found, err := s.Engine.Databases(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, measureTime)
	defer cancel()
	list := DatabaseList{Items: make([]Database, len(found))}
	var has []coderunner.Protocol
	for _, d := range found {
		if d.DetachedAt == nil {
			has = append(has, d.Protocol())
		}
	}
	for i, d := range found {
		list.Items[i] = databaseBody(d, has)
		list.Items[i].SizeBytes = s.volumeSize(ctx, d.Volume)
	}
	return &databaseListOutput{Body: list}, nil
}

type changeDatabaseInput struct {
	ID        string `path:"id" maxLength:"100"`
	Appliance string `path:"appliance" maxLength:"100" example:"postgres-15"`
	Restart   bool   `query:"restart" doc:"Whether the app that runs is started again in the same run. Without it, what it is given changes at its next start."`
}

func (s *server) attachDatabase(ctx context.Context, userID string, in *changeDatabaseInput) (*startedRunOutput, error) {
	run, err := s.Engine.AttachDatabase(ctx, userID, in.ID, in.Appliance, in.Restart)
	if err != nil {
		return nil, err
	}
	return s.startedRun(ctx, run)
}

func (s *server) detachDatabase(ctx context.Context, userID string, in *changeDatabaseInput) (*startedRunOutput, error) {
	run, err := s.Engine.DetachDatabase(ctx, userID, in.ID, in.Appliance, in.Restart)
	if err != nil {
		return nil, err
	}
	return s.startedRun(ctx, run)
}

type deleteDatabaseInput struct {
	ID        string `path:"id" maxLength:"100"`
	Appliance string `path:"appliance" maxLength:"100" example:"postgres-15"`
	Body      struct {
		Confirm string `json:"confirm" doc:"The appliance's name once more. Nothing brings the data back."`
	} `nameHint:"DatabaseDeletion"`
}

func (s *server) deleteDatabase(ctx context.Context, userID string, in *deleteDatabaseInput) (*startedRunOutput, error) {
	run, err := s.Engine.DeleteDatabase(ctx, userID, in.ID, in.Appliance, in.Body.Confirm)
	if err != nil {
		return nil, err
	}
	return s.startedRun(ctx, run)
}

// volumeSize is what a volume takes on disk, nil where that is not known.
func (s *server) volumeSize(ctx context.Context, name string) *int64 {
	if s.VolumeSize == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, measureTime)
	defer cancel()
	bytes, err := s.VolumeSize(ctx, name)
	if err == nil {
		return &bytes
	}
	if coderunner.KindOf(err) != coderunner.NotFound { // not made yet
		s.Log.Warn("measuring a volume", "volume", name, "err", err)
	}
	return nil
}
