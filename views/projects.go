package views

import (
	"github.com/coderunner/coderunner/internal/coderunner"
)

// ProjectsPage lists what the user owns.
type ProjectsPage struct {
	Frame
	Projects    []ProjectCard // newest first
	Samples     []Sample
	UploadLimit int64 // bytes of one upload
}

// ProjectCard is one project in the list.
type ProjectCard struct {
	Project coderunner.Project
	URL     string                 // where the app answers; "" while it does not
	Latest  *coderunner.Deployment // the newest; nil before the first
	Run     *coderunner.Run        // the newest run; nil before the first
}

// Sample is an example that deploys with one click.
type Sample struct {
	Name        string // names it in POST /samples/{name}
	Title       string
	Description string
	Parts       []string // "Node.js 18", "PostgreSQL 15"
}

// moving reports whether any project's state is about to change by itself.
func (p ProjectsPage) moving() bool {
	for _, card := range p.Projects {
		if card.Run != nil && !card.Run.State.Ended() {
			return true
		}
	}
	return false
}

// ProjectTab is one of a project's pages.
type ProjectTab string

const (
	TabOverview    ProjectTab = "overview"
	TabDeployments ProjectTab = "deployments"
	TabLogs        ProjectTab = "logs"
	TabSettings    ProjectTab = "settings"
)

// ProjectPage is any of a project's tabs; each shows the fields it needs.
type ProjectPage struct {
	Frame
	Tab         ProjectTab
	Project     coderunner.Project
	URL         string                 // where the app answers; "" while it does not
	Live        *coderunner.Deployment // the one that serves, or the newest; nil before the first
	Deployments []DeploymentRow        // newest first; the overview shows the first few
	Databases   []coderunner.Database
	Variables   []coderunner.Variable // keys and times; values are never shown
	UploadLimit int64
}

// DeploymentRow is a deployment with its run.
type DeploymentRow struct {
	Deployment coderunner.Deployment
	Run        *coderunner.Run // nil if its history is gone
}

// DestroyPage asks for the project's name before anything is destroyed. The
// form posts "name" to /projects/{id}/destroy.
type DestroyPage struct {
	Frame
	Project  coderunner.Project
	URL      string // that stops answering; "" if none does
	Losses   Losses
	Mistyped bool // the name posted was not the project's
}

// Losses is exactly what destroying a project takes away.
type Losses struct {
	Sandboxes   []string // the provider's names
	Databases   []DatabaseLoss
	Volumes     []string
	Variables   []string // keys
	Bundles     int
	BundleBytes int64
	Snapshots   int
}

// DatabaseLoss is one database that goes.
type DatabaseLoss struct {
	Database  coderunner.Database
	SizeBytes int64 // -1 if it could not be asked
}

// none reports whether nothing but the project itself is lost.
func (l Losses) none() bool {
	return len(l.Sandboxes)+len(l.Databases)+len(l.Volumes)+len(l.Variables)+l.Bundles+l.Snapshots == 0
}
