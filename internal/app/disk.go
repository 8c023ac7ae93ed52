package app

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/housekeeping"
	"github.com/coderunner/coderunner/internal/playbook"
	"github.com/coderunner/coderunner/internal/sandbox"
)

const (
	keepReleases   = 10                  // of each project
	unusedTemplate = 30 * 24 * time.Hour // after which it is removed
)

// housekeeping says what the keeper looks after. s is complete once it works.
func (a *App) housekeeping(s *services) housekeeping.Config {
	kept := housekeeping.DefaultRetention()
	kept.Releases, kept.DependencyBytes, kept.RunLogs = keepReleases, a.config.CacheBytes, time.Duration(a.config.LogDays)*24*time.Hour
	kept.History = max(kept.RunLogs, a.config.Retention.Age) // what an app printed names its deployment
	var templates []sandbox.TemplateRef
	for _, def := range s.catalogue.All() {
		templates = append(templates, def.Template().TemplateRef)
	}
	provider := s.provider
	return housekeeping.Config{
		DataDir: a.config.DataDir, EngineDir: engineDir(a.config), MinFree: a.config.MinFree, Retention: kept,
		ProjectOf: playbook.LabelledProject,
		Engine:    provider.Usage,
		DropTemplates: func(ctx context.Context) (int, error) {
			gone, err := provider.DropTemplates(ctx, templates, unusedTemplate)
			return len(gone), err
		},
		Squeeze: func(ctx context.Context) error { return s.engine.Squeeze(ctx) },
	}
}

// engineDir is the private daemon's directory, "" if there is none.
func engineDir(c Config) string {
	if _, err := os.Stat(c.EngineDir); err != nil || c.Containerd != "" {
		return ""
	}
	return c.EngineDir
}

// checkDisk says how much room the configured directories have.
func checkDisk(config Config) (what string, err error) {
	found, err := housekeeping.Look(config.DataDir, engineDir(config))
	if err != nil {
		return "the disk", coderunner.Wrap(err, coderunner.Unavailable, "The disk cannot be looked at.")
	}
	var parts []string
	for _, f := range found {
		parts = append(parts, fmt.Sprintf("%s: %.0f %% free", f.Holds, f.FreePercent()))
	}
	return "the disk of " + strings.Join(parts, ", of "), coderunner.Disk{FileSystems: found, MinFree: config.MinFree}.Room()
}
