package views

import (
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// tone is the colour of a state. A tone never stands alone: an icon and a word
// go with it.
type tone string

const (
	toneQuiet tone = "quiet"
	toneBusy  tone = "busy"
	toneGood  tone = "good"
	toneWarn  tone = "warn"
	toneBad   tone = "bad"
)

// state is how a state is shown.
type state struct {
	word, icon string
	tone       tone
}

// busy reports whether the state's icon turns.
func (s state) busy() bool { return s.icon == "loader-circle" }

func deploymentState(s coderunner.DeploymentStatus) state {
	switch s {
	case coderunner.Pending:
		return state{"Queued", "clock", toneQuiet}
	case coderunner.Provisioning:
		return state{"Provisioning", "loader-circle", toneBusy}
	case coderunner.Building:
		return state{"Building", "loader-circle", toneBusy}
	case coderunner.Running:
		return state{"Running", "circle-check", toneGood}
	case coderunner.Stopped:
		return state{"Stopped", "circle-pause", toneQuiet}
	case coderunner.Failed:
		return state{"Failed", "circle-x", toneBad}
	case coderunner.Destroyed:
		return state{"Destroyed", "circle-slash", toneQuiet}
	}
	return state{"Unknown", "circle-dashed", toneQuiet}
}

func runState(s coderunner.RunState) state {
	switch s {
	case coderunner.RunQueued:
		return state{"Queued", "clock", toneQuiet}
	case coderunner.RunRunning:
		return state{"In progress", "loader-circle", toneBusy}
	case coderunner.RunCancelling:
		return state{"Cancelling", "loader-circle", toneWarn}
	case coderunner.RunSucceeded:
		return state{"Succeeded", "circle-check", toneGood}
	case coderunner.RunFailed:
		return state{"Failed", "circle-x", toneBad}
	case coderunner.RunCancelled:
		return state{"Cancelled", "circle-slash", toneWarn}
	}
	return state{"Unknown", "circle-dashed", toneQuiet}
}

func stepState(s coderunner.StepState) state {
	switch s {
	case coderunner.StepPending:
		return state{"Waiting", "circle-dashed", toneQuiet}
	case coderunner.StepRunning:
		return state{"In progress", "loader-circle", toneBusy}
	case coderunner.StepDone:
		return state{"Done", "circle-check", toneGood}
	case coderunner.StepFailed:
		return state{"Failed", "circle-x", toneBad}
	case coderunner.StepErrored:
		return state{"Platform error", "triangle-alert", toneBad}
	case coderunner.StepCancelled:
		return state{"Cancelled", "circle-slash", toneWarn}
	case coderunner.StepSkipped:
		return state{"Skipped", "circle-minus", toneQuiet}
	}
	return state{"Unknown", "circle-dashed", toneQuiet}
}

func templateState(s TemplateState) state {
	switch s {
	case TemplateReady:
		return state{"Ready", "circle-check", toneGood}
	case TemplateBuilding:
		return state{"Being built", "loader-circle", toneBusy}
	case TemplateFailed:
		return state{"Could not be built", "triangle-alert", toneBad}
	}
	return state{"Built when first needed", "circle-dashed", toneQuiet}
}

// stepIcon answers the icon that says what a step does.
func stepIcon(name string) string {
	for _, known := range [...]struct{ part, icon string }{
		{"database", "database"}, {"sandbox", "server"}, {"provision", "server"},
		{"upload", "upload"}, {"install", "package"}, {"build", "hammer"}, {"release", "database"}, {"start", "play"},
		{"health", "heart-pulse"}, {"route", "route"}, {"drain", "unplug"}, {"stop", "square"},
		{"volume", "hard-drive"}, {"bundle", "archive"}, {"file", "archive"}, {"snapshot", "layers"},
		{"remove", "trash-2"}, {"destroy", "trash-2"},
	} {
		if strings.Contains(name, known.part) {
			return known.icon
		}
	}
	return "circle-dot"
}

// playbookWords are how a playbook is spoken of: while it runs, and when it has
// succeeded, failed and been cancelled.
type playbookWords struct {
	name, during, succeeded, failed, cancelled string
}

func wordsOf(playbook string) playbookWords {
	switch playbook {
	case "deploy":
		return playbookWords{"Deploy", "Deploying", "Deployed", "The deploy failed", "The deploy was cancelled"}
	case "redeploy":
		return playbookWords{"Redeploy", "Redeploying", "Deployed", "The redeploy failed", "The redeploy was cancelled"}
	case "rollback":
		return playbookWords{"Rollback", "Rolling back", "Rolled back", "The rollback failed", "The rollback was cancelled"}
	case "restart":
		return playbookWords{"Restart", "Restarting", "Restarted", "The restart failed", "The restart was cancelled"}
	case "start":
		return playbookWords{"Start", "Starting", "Started", "The app could not be started", "The start was cancelled"}
	case "stop":
		return playbookWords{"Stop", "Stopping", "Stopped", "The app could not be stopped", "The stop was cancelled"}
	case "attach":
		return playbookWords{"Attach a database", "Attaching a database", "The database is attached", "The database could not be attached", "The attach was cancelled"}
	case "detach":
		return playbookWords{"Detach a database", "Detaching a database", "The database is detached", "The database could not be detached", "The detach was cancelled"}
	case "delete_database":
		return playbookWords{"Delete a database", "Deleting a database", "The database is deleted", "The database could not be deleted", "The deletion was cancelled"}
	case "destroy":
		return playbookWords{"Destroy", "Destroying", "Destroyed", "The project could not be destroyed", "The destroy was cancelled"}
	}
	name := strings.ToUpper(playbook[:min(1, len(playbook))]) + playbook[min(1, len(playbook)):]
	return playbookWords{name, name + " in progress", name + " is done", name + " failed", name + " was cancelled"}
}

// openRun is the state of a run that has not ended, with the deployment's own
// word where there is one.
func openRun(run coderunner.Run, deployment *coderunner.Deployment) state {
	if run.State == coderunner.RunRunning {
		if deployment != nil && deployment.ID == run.DeploymentID &&
			(deployment.Status == coderunner.Provisioning || deployment.Status == coderunner.Building) {
			return deploymentState(deployment.Status)
		}
		return state{wordsOf(run.Playbook).during, "loader-circle", toneBusy}
	}
	return runState(run.State)
}
