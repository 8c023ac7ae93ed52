package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// Project is what a user owns.
type Project struct {
	ID          string             `json:"id" format:"uuid"`
	Name        string             `json:"name"`
	Slug        string             `json:"slug" doc:"The first label of the app's host name."`
	Description string             `json:"description"`
	PublicURL   string             `json:"public_url,omitempty" doc:"Where the app is, while one serves."`
	Current     *DeploymentSummary `json:"current,omitempty" doc:"The one that serves, or would if it were started."`
	Deployment  *DeploymentSummary `json:"deployment,omitempty" doc:"The newest one, which may have come to nothing."`
	Run         *RunSummary        `json:"run,omitempty" doc:"The newest one."`
	CreatedAt   time.Time          `json:"created_at"`
	UpdatedAt   time.Time          `json:"updated_at"`
	DestroyedAt *time.Time         `json:"destroyed_at,omitempty" doc:"Set when nothing of it is left but its history."`
}

// DeploymentSummary is where a deployment stands.
type DeploymentSummary struct {
	ID          string     `json:"id" format:"uuid"`
	Number      int        `json:"number"`
	Status      string     `json:"status" enum:"PENDING,PROVISIONING,BUILDING,RUNNING,STOPPED,FAILED,DESTROYED"`
	RuntimeType string     `json:"runtime_type" example:"nodejs"`
	ObservedAt  *time.Time `json:"observed_at,omitempty" doc:"When the app was last looked at."`
	Observed    string     `json:"observed,omitempty" example:"running" doc:"What was seen then."`
	UpdatedAt   time.Time  `json:"updated_at"`
}

// RunSummary is where a run stands.
type RunSummary struct {
	ID       string `json:"id" format:"uuid"`
	Playbook string `json:"playbook" example:"deploy"`
	State    string `json:"state" enum:"QUEUED,RUNNING,CANCELLING,SUCCEEDED,FAILED,CANCELLED"`
}

// DatabaseSummary is a database of a project. How to connect to it is told to the
// app alone.
type DatabaseSummary struct {
	Appliance string `json:"appliance" example:"postgres-15"`
	Name      string `json:"name"`
}

// ProjectDetail is a project with what belongs to it.
type ProjectDetail struct {
	Project
	Databases []DatabaseSummary `json:"databases" nullable:"false"`
}

// ProjectList is a page of projects.
type ProjectList struct {
	Items  []Project `json:"items" nullable:"false"`
	Total  int       `json:"total" doc:"How many there are on all pages."`
	Limit  int       `json:"limit"`
	Offset int       `json:"offset"`
}

func projectBody(p coderunner.Project) Project {
	return Project{ID: p.ID, Name: p.Name, Slug: p.Slug, Description: p.Description, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt, DestroyedAt: p.DestroyedAt}
}

func deploymentSummary(d coderunner.Deployment) *DeploymentSummary {
	return &DeploymentSummary{ID: d.ID, Number: d.Number, Status: d.Status.String(), RuntimeType: d.RuntimeType, ObservedAt: d.ObservedAt, Observed: d.Observed, UpdatedAt: d.UpdatedAt}
}

func runSummary(r coderunner.Run) *RunSummary {
	return &RunSummary{ID: r.ID, Playbook: r.Playbook, State: r.State.String()}
}

func summaryBody(s store.ProjectSummary) Project {
	p := projectBody(s.Project)
	p.PublicURL = s.PublicURL
	if s.Current != nil {
		p.Current = deploymentSummary(*s.Current)
	}
	if s.Deployment != nil {
		p.Deployment = deploymentSummary(*s.Deployment)
	}
	if s.Run != nil {
		p.Run = runSummary(*s.Run)
	}
	return p
}

type idInput struct {
	ID string `path:"id" maxLength:"100"`
}

type createProjectInput struct {
	Body struct {
		Name string `json:"name" doc:"At most 60 characters. The address of the app follows from it."`
	} `nameHint:"NewProject"`
}

type createdProjectOutput struct {
	Location string `header:"Location"`
	Body     Project
}

func (s *server) createProject(ctx context.Context, userID string, in *createProjectInput) (*createdProjectOutput, error) {
	p, err := s.Projects.Create(ctx, userID, in.Body.Name)
	if err != nil {
		return nil, err
	}
	return &createdProjectOutput{Location: Prefix + "/projects/" + p.ID, Body: projectBody(p)}, nil
}

type listProjectsInput struct {
	Search string `query:"search" maxLength:"200" doc:"A part of the name or slug."`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"50"`
	Offset int    `query:"offset" minimum:"0" maximum:"1000000"`
}

type projectListOutput struct{ Body ProjectList }

func (s *server) listProjects(ctx context.Context, userID string, in *listProjectsInput) (*projectListOutput, error) {
	summaries, total, err := s.Store.ProjectSummaries(ctx, userID, in.Search, in.Limit, in.Offset)
	if err != nil {
		return nil, err
	}
	list := ProjectList{Items: make([]Project, len(summaries)), Total: total, Limit: in.Limit, Offset: in.Offset}
	for i, summary := range summaries {
		list.Items[i] = summaryBody(summary)
	}
	return &projectListOutput{Body: list}, nil
}

type projectOutput struct{ Body ProjectDetail }

func (s *server) getProject(ctx context.Context, userID string, in *idInput) (*projectOutput, error) {
	p, err := s.Store.Project(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	deployments, err := s.Store.ProjectDeployments(ctx, userID, p.ID, 1, 0)
	if err != nil {
		return nil, err
	}
	current, err := s.Store.CurrentDeployment(ctx, userID, p.ID)
	if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return nil, err
	}
	runs, err := s.Store.ProjectRuns(ctx, userID, p.ID, 1, 0)
	if err != nil {
		return nil, err
	}
	databases, err := s.Store.ProjectDatabases(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	out := ProjectDetail{Project: projectBody(p), Databases: make([]DatabaseSummary, len(databases))}
	if current.ID != "" {
		out.Current, out.PublicURL = deploymentSummary(current), current.PublicURL
	}
	for _, d := range deployments {
		out.Deployment = deploymentSummary(d)
		if out.PublicURL == "" { // it is just taking over
			out.PublicURL = d.PublicURL
		}
	}
	for _, r := range runs {
		out.Run = runSummary(r)
	}
	for i, d := range databases {
		out.Databases[i] = DatabaseSummary{Appliance: d.Appliance, Name: d.Name}
	}
	return &projectOutput{Body: out}, nil
}

func destroyOperation() huma.Operation {
	op := operation(http.MethodDelete, "/projects/{id}", "destroy-project", "Destroy a project with its databases and all their data", http.StatusAccepted)
	op.Description = "Nothing can be brought back. The project's name must be given as confirm, in the body or the query. The answer is the run that does it."
	return op
}

type destroyInput struct {
	ID      string `path:"id" maxLength:"100"`
	Confirm string `query:"confirm" doc:"The project's name."`
	Body    *struct {
		Confirm string `json:"confirm,omitempty" doc:"The project's name."`
	} `nameHint:"Confirmation"`
}

func (s *server) destroyProject(ctx context.Context, userID string, in *destroyInput) (*startedRunOutput, error) {
	confirm := in.Confirm
	if in.Body != nil && in.Body.Confirm != "" {
		confirm = in.Body.Confirm
	}
	run, err := s.Engine.Destroy(ctx, userID, in.ID, confirm)
	if err != nil {
		return nil, err
	}
	return s.startedRun(ctx, run)
}
