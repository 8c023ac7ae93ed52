package views

import (
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// CardsPerPage is how many projects one page lists.
const CardsPerPage = 48

// ProjectsPage lists what the user owns, or what of it matches a search.
type ProjectsPage struct {
	Frame
	Projects    []ProjectCard // of this page, newest first
	Search      string        // a part of the name or slug; "" for all
	Total       int           // how many there are on all pages
	Page        int           // from 1
	Samples     []coderunner.Sample
	UploadLimit int64 // bytes of one upload
}

// ProjectCard is one project in the list.
type ProjectCard struct {
	Project coderunner.Project
	URL     string                 // where the app answers; "" while it does not
	Current *coderunner.Deployment // that serves, or would if it were started; nil before the first that did
	Latest  *coderunner.Deployment // the newest; nil before the first
	Run     *coderunner.Run        // the newest run; nil before the first
}

// shown is the deployment whose state is the project's.
func (c ProjectCard) shown() *coderunner.Deployment {
	if c.Current != nil {
		return c.Current
	}
	return c.Latest
}

// lastFailed reports whether something newer than what serves came to nothing.
func (c ProjectCard) lastFailed() bool {
	return c.Current != nil && c.Latest != nil && c.Latest.ID != c.Current.ID && c.Latest.Status == coderunner.Failed
}

// Pages is how many pages there are, at least one.
func (p ProjectsPage) Pages() int { return max(1, (p.Total+CardsPerPage-1)/CardsPerPage) }

// searchable reports whether there is more to look through than one page shows.
func (p ProjectsPage) searchable() bool { return p.Search != "" || p.Pages() > 1 }

// extent says in a sentence which of how many projects the page shows.
func (p ProjectsPage) extent() string {
	begin := (p.Page-1)*CardsPerPage + 1
	span := "Projects " + thousands(begin) + " to " + thousands(begin+len(p.Projects)-1) + " of " + thousands(p.Total)
	switch {
	case p.Search == "":
		return span + ", newest first."
	case p.Pages() > 1:
		return span + " that match “" + p.Search + "”."
	case p.Total == 1:
		return "1 project matches “" + p.Search + "”."
	}
	return count(p.Total, "project") + " match “" + p.Search + "”."
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
	TabVariables   ProjectTab = "variables"
	TabLogs        ProjectTab = "logs"
	TabDatabases   ProjectTab = "databases"
	TabSettings    ProjectTab = "settings"
)

// ProjectPage is any of a project's tabs; each shows the fields it needs.
type ProjectPage struct {
	Frame
	Tab         ProjectTab
	Project     coderunner.Project
	URL         string                 // where the app answers; "" while it does not
	Live        *coderunner.Deployment // the current one, or the newest before any has served; nil before the first
	Restarts    int                    // how often in a row its app ended by itself
	LastExit    *coderunner.LastExit
	Deployments []DeploymentRow // newest first; the overview shows the first few
	Page        int             // of the deployments, from 1
	More        bool            // whether older ones follow
	Databases   []coderunner.Database
	Backend     *coderunner.Backend        // nil for a project that does not run on Manifest
	Admin       *coderunner.AdminLogin     // of the backend, once it was asked for
	Variables   []coderunner.Variable      // keys and times; values are not shown here
	Pending     coderunner.VariableChanges // variables that are saved and that nothing runs with yet
	EnvKeys     []coderunner.EnvKey        // that the code reads, of the version that serves or else the newest upload
	UploadLimit int64
	Stored      []coderunner.Stored // what it takes on disk
	MeasuredAt  *time.Time          // nil while that is not known
}

// given are the variables that nobody has to set: those of them that people look for.
func (p ProjectPage) given() []string {
	return append([]string{"PORT"}, coderunner.URLKeys(p.Protocols()...)...)
}

// areSet ends the sentence about them.
func areSet(given []string) string {
	if len(given) > 1 {
		return " are set for you."
	}
	return " is set for you."
}

// Protocols are what the project's databases speak.
func (p ProjectPage) Protocols() []coderunner.Protocol {
	var has []coderunner.Protocol
	for _, d := range p.Databases {
		has = append(has, d.Protocol())
	}
	return has
}

// stopped reports whether its owner has taken the app off the machine.
func (p ProjectPage) stopped() bool {
	return p.Live != nil && p.Live.ReleasedAt != nil && p.Live.Status == coderunner.Stopped
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
	Volumes     []VolumeLoss
	Variables   []string // keys
	Bundles     int
	BundleBytes int64
	Snapshots   int
	LogLines    int64 // of what its apps have printed
}

// DatabaseLoss is one database that goes.
type DatabaseLoss struct {
	Database  coderunner.Database
	SizeBytes int64 // of its data on disk; -1 if unknown
}

// VolumeLoss is one volume that goes.
type VolumeLoss struct {
	Name      string // the provider's
	SizeBytes int64  // on disk; -1 if unknown
}

// none reports whether nothing but the project itself is lost.
func (l Losses) none() bool {
	return len(l.Sandboxes)+len(l.Databases)+len(l.Volumes)+len(l.Variables)+l.Bundles+l.Snapshots+int(l.LogLines) == 0
}
