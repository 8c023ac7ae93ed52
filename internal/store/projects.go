package store

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// CreateProject adds a project; Conflict when the user has one of that name or the slug is taken.
func (s *Store) CreateProject(ctx context.Context, userID, name, slug string) (coderunner.Project, error) {
	row, err := s.q.CreateProject(ctx, sqlc.CreateProjectParams{UserID: userID, Name: name, Slug: slug})
	return project(row), translate(err, "project")
}

// Project returns a user's project, destroyed ones included.
func (s *Store) Project(ctx context.Context, userID, id string) (coderunner.Project, error) {
	row, err := s.q.Project(ctx, id, userID)
	return project(row), translate(err, "project")
}

// LiveProjects answers which of the ids are of projects that are not destroyed.
func (s *Store) LiveProjects(ctx context.Context, ids []string) ([]string, error) {
	live, err := s.q.LiveProjects(ctx, ids)
	return live, translate(err, "project")
}

// ProjectByID is for the engine.
func (s *Store) ProjectByID(ctx context.Context, id string) (coderunner.Project, error) {
	row, err := s.q.ProjectByID(ctx, id)
	return project(row), translate(err, "project")
}

func project(r sqlc.Project) coderunner.Project {
	return coderunner.Project{ID: r.ID, UserID: r.UserID, Name: r.Name, Slug: r.Slug, Description: r.Description, Plan: r.Plan, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, DestroyedAt: r.DestroyedAt}
}

// RenameProject changes the name and slug of a user's live project; Conflict as
// for CreateProject, NotFound once it is destroyed.
func (s *Store) RenameProject(ctx context.Context, userID, id, name, slug string) (coderunner.Project, error) {
	row, err := s.q.RenameProject(ctx, sqlc.RenameProjectParams{Name: name, Slug: slug, ID: id, UserID: userID})
	return project(row), translate(err, "project")
}

// ProjectSummary is a project with its current and newest deployment and its newest
// run, as far as they exist.
type ProjectSummary struct {
	Project    coderunner.Project
	Current    *coderunner.Deployment // that serves, or would if it were started; of its failure the ID alone, else as below
	Deployment *coderunner.Deployment // the newest; without its plan, sandboxes, URL and failure
	PublicURL  string                 // of the deployment that serves now
	Run        *coderunner.Run        // without its lease and failure
}

// ProjectSummaries lists a user's projects, newest first, and how many match in
// all. search matches a part of the name or slug.
func (s *Store) ProjectSummaries(ctx context.Context, userID, search string, limit, offset int) ([]ProjectSummary, int, error) {
	total, err := s.q.CountProjects(ctx, userID, search)
	if err != nil {
		return nil, 0, translate(err, "project")
	}
	rows, err := s.q.ProjectSummaries(ctx, sqlc.ProjectSummariesParams{UserID: userID, Search: search, PageSize: int32(limit), PageStart: int32(offset)})
	out := make([]ProjectSummary, len(rows))
	for i, r := range rows {
		out[i] = ProjectSummary{Project: project(r.Project), PublicURL: r.PublicUrl}
		if r.DeploymentID != "" {
			out[i].Deployment = &coderunner.Deployment{ID: r.DeploymentID, ProjectID: r.Project.ID, Number: int(r.DeploymentNumber), Status: coderunner.DeploymentStatus(r.DeploymentStatus),
				RuntimeType: r.RuntimeType, ObservedAt: r.DeploymentObservedAt, CreatedAt: r.DeploymentCreatedAt, UpdatedAt: r.DeploymentUpdatedAt}
		}
		if r.CurrentID != "" {
			out[i].Current = &coderunner.Deployment{ID: r.CurrentID, ProjectID: r.Project.ID, Number: int(r.CurrentNumber), Status: coderunner.DeploymentStatus(r.CurrentStatus),
				RuntimeType: r.CurrentRuntimeType, ObservedAt: r.CurrentObservedAt, Observed: r.CurrentObservedState, CreatedAt: r.CurrentCreatedAt, UpdatedAt: r.CurrentUpdatedAt}
			if r.CurrentFailureID != "" {
				out[i].Current.Failure = &coderunner.Failure{ID: r.CurrentFailureID}
			}
		}
		if r.RunID != "" {
			out[i].Run = &coderunner.Run{ID: r.RunID, ProjectID: r.Project.ID, DeploymentID: r.RunDeploymentID, Playbook: r.RunPlaybook, State: coderunner.RunState(r.RunState),
				CreatedAt: r.RunCreatedAt, StartedAt: r.RunStartedAt, FinishedAt: r.RunFinishedAt}
		}
	}
	return out, int(total), translate(err, "project")
}

// ProjectNameTaken reports whether the user has a live project of that name.
func (s *Store) ProjectNameTaken(ctx context.Context, userID, name string) (bool, error) {
	taken, err := s.q.ProjectNameTaken(ctx, userID, name)
	return taken, translate(err, "project")
}

// ReleaseSlug frees a slug that a destroyed project of the user has; no other user's is freed.
func (s *Store) ReleaseSlug(ctx context.Context, userID, slug string) error {
	return translate(s.q.ReleaseSlug(ctx, slug, userID), "project")
}

// SlugTaken reports whether any project has or had the slug.
func (s *Store) SlugTaken(ctx context.Context, slug string) (bool, error) {
	taken, err := s.q.SlugTaken(ctx, slug)
	return taken, translate(err, "project")
}

// SetProjectPlan keeps the plan as the user confirmed it.
func (s *Store) SetProjectPlan(ctx context.Context, projectID string, plan coderunner.Plan) error {
	return translate(s.q.SetProjectPlan(ctx, projectID, plan), "project")
}

// CreateBundle records an upload whose blob is already stored.
func (s *Store) CreateBundle(ctx context.Context, b coderunner.Bundle) (coderunner.Bundle, error) {
	if b.Omitted == nil {
		b.Omitted = []string{}
	}
	row, err := s.q.CreateBundle(ctx, sqlc.CreateBundleParams{ProjectID: b.ProjectID, Sha256: b.SHA256, Filename: b.Filename, SizeBytes: b.SizeBytes, ExpandedBytes: b.ExpandedBytes, Files: int32(b.Files), Omitted: b.Omitted, Plan: b.Plan})
	return bundle(row), translate(err, "bundle")
}

// Bundle returns a bundle of one of the user's projects.
func (s *Store) Bundle(ctx context.Context, userID, id string) (coderunner.Bundle, error) {
	row, err := s.q.Bundle(ctx, id, userID)
	return bundle(row), translate(err, "bundle")
}

// BundleByID is for the engine.
func (s *Store) BundleByID(ctx context.Context, id string) (coderunner.Bundle, error) {
	row, err := s.q.BundleByID(ctx, id)
	return bundle(row), translate(err, "bundle")
}

// LatestBundle returns the newest bundle of a user's project.
func (s *Store) LatestBundle(ctx context.Context, userID, projectID string) (coderunner.Bundle, error) {
	row, err := s.q.LatestBundle(ctx, projectID, userID)
	return bundle(row), translate(err, "bundle")
}

func bundle(r sqlc.Bundle) coderunner.Bundle {
	return coderunner.Bundle{ID: r.ID, ProjectID: r.ProjectID, SHA256: r.Sha256, Filename: r.Filename, SizeBytes: r.SizeBytes, ExpandedBytes: r.ExpandedBytes, Files: int(r.Files), Omitted: r.Omitted, Plan: r.Plan, CreatedAt: r.CreatedAt}
}

// ProjectUploads counts the bundles of a user's project and the bytes that they
// take on disk.
func (s *Store) ProjectUploads(ctx context.Context, userID, projectID string) (count int, bytes int64, err error) {
	row, err := s.q.ProjectUploads(ctx, projectID, userID)
	return int(row.Uploads), row.Bytes, translate(err, "project")
}

// DeleteProjectBundles forgets a project's bundles and answers their blobs'
// hashes; a blob may still belong to another project, see BundleReferenced.
func (s *Store) DeleteProjectBundles(ctx context.Context, projectID string) ([]string, error) {
	hashes, err := s.q.DeleteProjectBundles(ctx, projectID)
	return hashes, translate(err, "bundle")
}

// BundleReferenced reports whether any project has a bundle with this hash.
func (s *Store) BundleReferenced(ctx context.Context, sha256 string) (bool, error) {
	used, err := s.q.BundleReferenced(ctx, sha256)
	return used, translate(err, "bundle")
}
