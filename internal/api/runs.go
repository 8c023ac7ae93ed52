package api

import (
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/playbook"
)

// Run is one execution of a playbook.
type Run struct {
	RunSummary
	ProjectID         string              `json:"project_id" format:"uuid"`
	DeploymentID      string              `json:"deployment_id,omitempty" doc:"Left out where the playbook is about the project as a whole."`
	Failure           *coderunner.Failure `json:"failure,omitempty"`
	ReplacedBy        string              `json:"replaced_by,omitempty" doc:"The run that took its place while it waited."`
	CancelRequestedAt *time.Time          `json:"cancel_requested_at,omitempty"`
	CreatedAt         time.Time           `json:"created_at"`
	StartedAt         *time.Time          `json:"started_at,omitempty"`
	FinishedAt        *time.Time          `json:"finished_at,omitempty"`
	LogDroppedAt      *time.Time          `json:"log_dropped_at,omitempty" doc:"Its log had been kept for long enough, and is gone."`
	Steps             []Step              `json:"steps" nullable:"false"`
}

// Step is one action of a run.
type Step struct {
	Name       string     `json:"name" example:"install" doc:"Stable; lines of the log have it."`
	Title      string     `json:"title" example:"Install dependencies"`
	State      string     `json:"state" enum:"PENDING,RUNNING,DONE,FAILED,ERRORED,CANCELLED,SKIPPED" doc:"FAILED is the app's fault, ERRORED the platform's."`
	After      []string   `json:"after,omitempty" nullable:"false" doc:"The steps that must be done before it."`
	Attempts   int        `json:"attempts"`
	Error      string     `json:"error,omitempty"`
	StartedAt  *time.Time `json:"started_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
}

// LogLine is one line of a run's log.
type LogLine struct {
	Seq    int64     `json:"seq" doc:"1, 2, 3 … without gaps within the run."`
	At     time.Time `json:"at"`
	Stream string    `json:"stream" enum:"stdout,stderr,system"`
	Step   string    `json:"step" example:"install"`
	Text   string    `json:"text" doc:"It may have ANSI colour sequences."`
}

func lineBody(l coderunner.LogLine) LogLine {
	return LogLine{Seq: l.Seq, At: l.At, Stream: string(l.Stream), Step: l.Step, Text: l.Text}
}

// runBody reads the run's steps. Whoever calls has found the run as its owner.
func (s *server) runBody(ctx context.Context, r coderunner.Run) (Run, error) {
	steps, err := s.Store.Steps(ctx, r.ID)
	if err != nil {
		return Run{}, err
	}
	body := Run{
		RunSummary: *runSummary(r), ProjectID: r.ProjectID, DeploymentID: r.DeploymentID, Failure: r.Failure, ReplacedBy: r.ReplacedBy, CancelRequestedAt: r.CancelRequestedAt,
		CreatedAt: r.CreatedAt, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, LogDroppedAt: r.LogDroppedAt, Steps: make([]Step, len(steps)),
	}
	for i, step := range steps {
		body.Steps[i] = Step{Name: step.Name, Title: step.Title, State: step.State.String(), After: step.After, Attempts: step.Attempts,
			Error: step.Error, StartedAt: step.StartedAt, FinishedAt: step.FinishedAt}
	}
	return body, nil
}

type runOutput struct{ Body Run }

func (s *server) getRun(ctx context.Context, userID string, in *idInput) (*runOutput, error) {
	run, err := s.Store.Run(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	body, err := s.runBody(ctx, run)
	if err != nil {
		return nil, err
	}
	return &runOutput{Body: body}, nil
}

func (s *server) cancelRun(ctx context.Context, userID string, in *idInput) (*startedRunOutput, error) {
	run, err := s.Engine.Cancel(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	return s.startedRun(ctx, run)
}

type fixInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body struct {
		Kind coderunner.FixKind `json:"kind" enum:"database,port,runtime,root,static_dir,install,start,release,plan,again" doc:"That of one of the failure's fixes. A variable is set by way of the variables, and again deploys then."`
	}
}

func (s *server) fixRun(ctx context.Context, userID string, in *fixInput) (*startedDeploymentOutput, error) {
	mended, err := s.Projects.Mend(ctx, userID, in.ID, in.Body.Kind)
	if err != nil {
		return nil, err
	}
	deployment, run, err := s.Engine.Deploy(ctx, userID, playbook.DeployRequest{
		ProjectID: mended.Failed.ProjectID, BundleID: mended.Failed.BundleID, Plan: mended.Plan, Databases: mended.Databases, After: mended.Failed.ID,
	})
	return s.startedDeployment(ctx, deployment, run, err)
}

// startedRunOutput is a run that goes on after the answer.
type startedRunOutput struct {
	Location string `header:"Location"`
	Body     Run
}

func (s *server) startedRun(ctx context.Context, run coderunner.Run) (*startedRunOutput, error) {
	body, err := s.runBody(ctx, run)
	if err != nil {
		return nil, err
	}
	return &startedRunOutput{Location: Prefix + "/runs/" + run.ID, Body: body}, nil
}
