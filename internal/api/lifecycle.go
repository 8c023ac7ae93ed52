package api

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// DeploymentList is a page of a project's deployments.
type DeploymentList struct {
	Items  []Deployment `json:"items" nullable:"false"`
	Limit  int          `json:"limit"`
	Offset int          `json:"offset"`
	More   bool         `json:"more" doc:"Whether older ones follow."`
}

type listDeploymentsInput struct {
	ID     string `path:"id" maxLength:"100"`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
	Offset int    `query:"offset" minimum:"0" maximum:"1000000"`
}

type deploymentListOutput struct{ Body DeploymentList }

func (s *server) listDeployments(ctx context.Context, userID string, in *listDeploymentsInput) (*deploymentListOutput, error) {
	if _, err := s.Store.Project(ctx, userID, in.ID); err != nil {
		return nil, err
	}
	found, err := s.Store.ProjectDeployments(ctx, userID, in.ID, in.Limit+1, in.Offset)
	if err != nil {
		return nil, err
	}
	list := DeploymentList{Items: []Deployment{}, Limit: in.Limit, Offset: in.Offset, More: len(found) > in.Limit}
	for _, d := range found[:min(len(found), in.Limit)] {
		list.Items = append(list.Items, deploymentBody(d))
	}
	return &deploymentListOutput{Body: list}, nil
}

func (s *server) redeploy(ctx context.Context, userID string, in *idInput) (*startedDeploymentOutput, error) {
	deployment, run, err := s.Engine.Redeploy(ctx, userID, in.ID)
	return s.startedDeployment(ctx, deployment, run, err)
}

func (s *server) rollback(ctx context.Context, userID string, in *idInput) (*startedDeploymentOutput, error) {
	deployment, run, err := s.Engine.Rollback(ctx, userID, in.ID)
	return s.startedDeployment(ctx, deployment, run, err)
}

func (s *server) startedDeployment(ctx context.Context, deployment coderunner.Deployment, run coderunner.Run, err error) (*startedDeploymentOutput, error) {
	if err != nil {
		return nil, err
	}
	body, err := s.runBody(ctx, run)
	if err != nil {
		return nil, err
	}
	return &startedDeploymentOutput{Location: Prefix + "/deployments/" + deployment.ID, Body: StartedDeployment{Deployment: deploymentBody(deployment), Run: body}}, nil
}

func (s *server) restart(ctx context.Context, userID string, in *idInput) (*startedRunOutput, error) {
	run, err := s.Engine.RestartApp(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	return s.startedRun(ctx, run)
}

func (s *server) start(ctx context.Context, userID string, in *idInput) (*startedRunOutput, error) {
	run, err := s.Engine.StartApp(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	return s.startedRun(ctx, run)
}

type stopInput struct {
	ID        string `path:"id" maxLength:"100"`
	Databases bool   `query:"databases" doc:"Whether the project's databases are stopped as well. Their data stays."`
}

func (s *server) stop(ctx context.Context, userID string, in *stopInput) (*startedRunOutput, error) {
	run, err := s.Engine.StopApp(ctx, userID, in.ID, in.Databases)
	if err != nil {
		return nil, err
	}
	return s.startedRun(ctx, run)
}
