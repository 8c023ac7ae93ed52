package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/playbook"
)

// Deployment is one attempt to run one bundle of one project.
type Deployment struct {
	ID          string              `json:"id" format:"uuid"`
	ProjectID   string              `json:"project_id" format:"uuid"`
	BundleID    string              `json:"bundle_id" format:"uuid"`
	Number      int                 `json:"number" doc:"1, 2, 3 … within the project."`
	Status      string              `json:"status" enum:"PENDING,PROVISIONING,BUILDING,RUNNING,STOPPED,FAILED,DESTROYED"`
	RuntimeType string              `json:"runtime_type" example:"nodejs"`
	Origin      string              `json:"origin" enum:"upload,redeploy,rollback"`
	FromID      string              `json:"from_deployment_id,omitempty" doc:"The deployment whose code it runs again."`
	ReleasedAt  *time.Time          `json:"released_at,omitempty" doc:"When it first served."`
	Kept        bool                `json:"kept" doc:"Whether it can be rolled back to."`
	Plan        coderunner.Plan     `json:"plan" doc:"As confirmed; it never changes."`
	PublicURL   string              `json:"public_url,omitempty" doc:"Set while it serves."`
	Failure     *coderunner.Failure `json:"failure,omitempty"`
	ObservedAt  *time.Time          `json:"observed_at,omitempty" doc:"When the app was last looked at."`
	Observed    string              `json:"observed,omitempty" example:"running" doc:"What was seen then: running, ended (it is started again), starting (it was, and has not answered yet), silent (it does not answer), or another state of its sandbox. status says what should be."`
	CreatedAt   time.Time           `json:"created_at"`
	UpdatedAt   time.Time           `json:"updated_at"`
}

func deploymentBody(d coderunner.Deployment) Deployment {
	return Deployment{
		ID: d.ID, ProjectID: d.ProjectID, BundleID: d.BundleID, Number: d.Number, Status: d.Status.String(), RuntimeType: d.RuntimeType,
		Origin: string(d.Origin), FromID: d.FromID, ReleasedAt: d.ReleasedAt, Kept: d.ReleasedAt != nil && d.Release != nil,
		Plan: planBody(d.Plan), PublicURL: d.PublicURL, Failure: d.Failure, ObservedAt: d.ObservedAt, Observed: d.Observed, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
}

// planBody has an empty list or object where the plan has none, as its description says.
func planBody(p coderunner.Plan) coderunner.Plan {
	p.Databases = append([]coderunner.DatabaseNeed{}, p.Databases...)
	p.EnvKeys = append([]coderunner.EnvKey{}, p.EnvKeys...)
	p.Warnings = append([]string{}, p.Warnings...)
	p.Candidates = append([]coderunner.Candidate{}, p.Candidates...)
	if p.Processes == nil {
		p.Processes = map[string]string{}
	}
	return p
}

// PlanChanges replace parts of a bundle's plan. What is left out stays.
type PlanChanges struct {
	Root       *string `json:"root,omitempty" doc:"The folder within the bundle; another than the plan's is analyzed anew." example:"server"`
	Appliance  *string `json:"appliance,omitempty" example:"nodejs-18"`
	Install    *string `json:"install,omitempty" doc:"A shell command that is run inside the sandbox; empty for none." example:"npm ci"`
	Build      *string `json:"build,omitempty" doc:"Likewise."`
	Start      *string `json:"start,omitempty" doc:"Likewise. There must be one, or static_dir." example:"npm start"`
	StaticDir  *string `json:"static_dir,omitempty" doc:"A folder within root that is served when there is no start command." example:"dist"`
	Fallback   *string `json:"static_fallback,omitempty" doc:"The page of static_dir that answers for all that is not there; empty for none." example:"/index.html"`
	Release    *string `json:"release,omitempty" doc:"A shell command that is run in the app's sandbox before each new version serves; if it fails, the one before goes on." example:"npm run migrate"`
	Port       *int    `json:"port,omitempty" doc:"From 1024 to 65535; the app is told as PORT."`
	HealthPath *string `json:"health_path,omitempty" doc:"Asked until the app answers." example:"/"`
}

type deployInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body struct {
		BundleID    string       `json:"bundle_id"`
		Plan        *PlanChanges `json:"plan,omitempty" doc:"Without it, the plan is the analyzer's with what was chosen in the last deployment."`
		Databases   *[]string    `json:"databases,omitempty" nullable:"false" maxItems:"20" doc:"Appliances, such as postgres-15. Without it, those of the plan; an empty list is none. A database that the project has is kept."`
		AcceptDrops bool         `json:"accept_drops,omitempty" doc:"Confirms that a Manifest backend loses the columns of which the upload's plan warns. Without it such a deploy is refused."`
	} `nameHint:"NewDeployment"`
}

// StartedDeployment is a deployment with the run that carries it out.
type StartedDeployment struct {
	Deployment Deployment `json:"deployment"`
	Run        Run        `json:"run"`
}

type startedDeploymentOutput struct {
	Location string `header:"Location"`
	Body     StartedDeployment
}

func (s *server) deploy(ctx context.Context, userID string, in *deployInput) (*startedDeploymentOutput, error) {
	changes := PlanChanges{}
	if in.Body.Plan != nil {
		changes = *in.Body.Plan
	}
	root := ""
	if changes.Root != nil {
		root = folder(*changes.Root)
	}
	plan, err := s.Projects.Propose(ctx, userID, in.ID, in.Body.BundleID, root)
	if err != nil {
		return nil, err
	}
	changes.apply(&plan)
	if in.Body.Databases != nil {
		chooseDatabases(&plan, *in.Body.Databases)
	}
	request := playbook.DeployRequest{ProjectID: in.ID, BundleID: in.Body.BundleID, Plan: plan, AcceptDrops: in.Body.AcceptDrops}
	for _, need := range plan.Databases {
		request.Databases = append(request.Databases, need.Appliance)
	}
	deployment, run, err := s.Engine.Deploy(ctx, userID, request)
	return s.startedDeployment(ctx, deployment, run, err)
}

type deploymentOutput struct{ Body Deployment }

func (s *server) getDeployment(ctx context.Context, userID string, in *idInput) (*deploymentOutput, error) {
	d, err := s.Store.Deployment(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	return &deploymentOutput{Body: deploymentBody(d)}, nil
}

// apply changes everything but the root, which the plan was made for.
func (c PlanChanges) apply(plan *coderunner.Plan) {
	choose := func(choice *coderunner.Choice, value *string) {
		if value != nil && strings.TrimSpace(*value) != choice.Value {
			*choice = coderunner.Choice{Value: strings.TrimSpace(*value), Why: coderunner.YourChoice}
		}
	}
	choose(&plan.StaticDir, c.StaticDir)
	choose(&plan.StaticFallback, c.Fallback)
	if c.Release != nil {
		plan.SetProcess(coderunner.ReleaseProcess, strings.TrimSpace(*c.Release))
	}
	choose(&plan.Install, c.Install)
	choose(&plan.Build, c.Build)
	choose(&plan.Start, c.Start)
	choose(&plan.HealthPath, c.HealthPath)
	if c.Port != nil && *c.Port != plan.Port {
		plan.Port, plan.PortWhy = *c.Port, coderunner.YourChoice
	}
	if c.Appliance != nil && *c.Appliance != plan.Runtime.Appliance {
		name, version, _ := strings.Cut(*c.Appliance, "-")
		plan.Runtime = coderunner.Runtime{Name: name, Version: version, Appliance: *c.Appliance, Why: coderunner.YourChoice}
	}
	if plan.Type == "" && plan.Runtime.Name != "" {
		plan.Type, plan.TypeWhy = plan.Runtime.Name, coderunner.YourChoice
	}
}

// chooseDatabases makes names the plan's databases, each once.
func chooseDatabases(plan *coderunner.Plan, names []string) {
	proposed := plan.Databases
	plan.Databases = nil
	for _, name := range names {
		is := func(n coderunner.DatabaseNeed) bool { return n.Appliance == name }
		if slices.ContainsFunc(plan.Databases, is) {
			continue
		}
		need := coderunner.DatabaseNeed{Appliance: name, Why: coderunner.YourChoice}
		if i := slices.IndexFunc(proposed, is); i >= 0 {
			need = proposed[i]
		}
		plan.Databases = append(plan.Databases, need)
	}
}

// folder is a root as it was typed, in the form that names it: "./server/" is "server".
func folder(root string) string {
	root = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(root), "./"), "/")
	if root == "" {
		return "."
	}
	return root
}
