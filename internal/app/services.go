package app

import (
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5/middleware"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/examples"
	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/auth"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge/daemon"
	"github.com/coderunner/coderunner/internal/fetch"
	"github.com/coderunner/coderunner/internal/housekeeping"
	"github.com/coderunner/coderunner/internal/playbook"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/stream"
	"github.com/coderunner/coderunner/internal/web"
	"github.com/coderunner/coderunner/static"
	"github.com/coderunner/coderunner/views"
)

// services are the parts that answer requests and do the work.
type services struct {
	store     *store.Store
	provider  *containerd.Provider
	catalogue *appliance.Catalogue
	bundles   *bundle.Store
	auth      *auth.Service
	projects  *project.Service
	hub       *runlog.Hub
	collector *runlog.Collector
	edge      *daemon.Client
	engine    *playbook.Engine
	house     *housekeeping.Keeper
}

// assemble makes the services. What it opened before an error is in the answer, to be put down.
func (a *App) assemble(ctx context.Context, st *store.Store) (s services, err error) {
	s.store = st
	if s.catalogue, err = appliance.Load(appliances.FS); err != nil {
		return s, err
	}
	keys, err := a.openKeys(ctx, st)
	if err != nil {
		return s, err
	}
	if s.bundles, err = bundle.Open(filepath.Join(a.config.DataDir, "bundles"), bundle.Limits{ArchiveBytes: a.config.MaxUpload}); err != nil {
		return s, err
	}
	provider, err := providerConfig(a.config)
	if err != nil {
		return s, err
	}
	if s.provider, err = containerd.Open(ctx, provider); err != nil {
		return s, err
	}
	if s.auth, err = auth.New(auth.Config{KeyFile: filepath.Join(a.config.DataDir, "jwt.key"), PublicURL: a.addresses.dashboard.String()}, st); err != nil {
		return s, err
	}
	s.provider.KeepStandbys(a.config.Standbys)
	s.house = housekeeping.New(a.housekeeping(&s), st, s.bundles, s.provider, a.log)
	s.projects = project.New(st, s.bundles, keys)
	s.projects.Room, s.projects.Quota = s.house.Room, a.config.MaxStored
	s.hub = runlog.NewHub(st)
	s.edge = daemon.NewClient(a.config.DataDir, st.Routes, a.log)
	if err := s.edge.Refresh(ctx); err != nil {
		return s, err
	}
	s.collector = runlog.NewCollector(runlog.CollectorConfig{Owner: provider.Instance, Throttle: a.config.Throttle, Retention: a.config.Retention,
		Secrets: func(ctx context.Context, projectID, deploymentID string) ([]string, error) {
			return s.engine.Secrets(ctx, projectID, deploymentID)
		},
		Ended: func(string) { s.engine.Nudge() }}, st, s.provider, a.log)
	client, err := containerd.SourceClient(a.config.Sources, a.config.CABundle)
	if err != nil {
		return s, err
	}
	s.engine = playbook.New(playbook.Config{PublicURL: a.addresses.app, NodeJS: fetch.NodeJS{Dir: filepath.Join(a.config.DataDir, "nodejs"), Registry: a.config.Sources.NPMRegistry, Client: fetch.Client{HTTP: client}}.Tar,
		CABundle: s.provider.CABundle(), Sources: a.config.Sources, LocalNetworks: containerd.Networks(), AppLimits: a.config.AppLimits,
		DatabaseLimits: a.config.DBLimits, SnapshotBytes: a.config.CacheBytes, PackageCache: a.config.UserCache, KeepReleases: keepReleases, Room: s.house.Room, Ended: s.house.Ask,
		Output: playbook.Output{Follow: s.collector.Nudge, Drain: s.collector.Drain}}, st, s.provider, s.catalogue, s.bundles, keys, s.projects.Decrypted, s.hub,
		playbook.Edge{Refresh: s.edge.Refresh, Probe: s.edge.Probe, Drain: s.edge.Drain}, a.log)
	return s, nil
}

// providerConfig says where this data directory's sandboxes are.
func providerConfig(c Config) (containerd.Config, error) {
	name, err := instance(c.DataDir)
	return containerd.Config{EngineDir: c.EngineDir, Address: c.Containerd, Instance: name, StateDir: filepath.Join(c.DataDir, "sandboxes"), Runtime: c.Runtime,
		Sources: c.Sources, CABundle: c.CABundle}, err
}

// handler gives each request to the dashboard or the API. Those for apps do not come here.
func (a *App) handler() http.Handler {
	streams := &stream.Places{}
	samples := examples.Samples()
	program := api.New(api.Services{Samples: samples, Auth: a.auth, Projects: a.projects, Store: a.store, Engine: a.engine, Hub: a.hub, Disk: a.house.Disk, VolumeSize: a.provider.VolumeSize, Streams: streams, Log: a.log, UploadLimit: a.config.MaxUpload})
	pages := web.New(web.Services{Auth: a.auth, Projects: a.projects, Store: a.store, Engine: a.engine, Hub: a.hub, Catalogue: a.catalogue,
		Samples: samples, Static: static.New(), Templates: a.templates, Volumes: a.volumes, Applied: a.applied, Disk: a.house.Disk, ProjectDisk: a.house.Project, Machine: a.machineParts, Sources: a.config.Sources.Shown(), Streams: streams, UploadLimit: a.config.MaxUpload, Log: a.log})
	compress := middleware.Compress(5, "text/html", "text/css", "text/javascript", "application/json", "image/svg+xml")
	program, pages = compress(program), compress(pages)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, api.Prefix+"/") {
			program.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	})
}

// templates tells which appliances can be instantiated at once.
func (a *App) templates(ctx context.Context) (map[string]web.TemplateStatus, error) {
	states := map[string]web.TemplateStatus{}
	for _, def := range a.catalogue.All() {
		ready, err := a.provider.HasTemplate(ctx, def.Template().TemplateRef)
		if err != nil {
			return nil, err
		}
		state := views.TemplateAbsent
		if ready {
			state = views.TemplateReady
		}
		states[def.Name] = web.TemplateStatus{State: state}
	}
	return states, nil
}

// volumes lists those that go when a project is destroyed, by name. Nobody waits long
// for their sizes.
func (a *App) volumes(ctx context.Context, projectID string) ([]views.VolumeLoss, error) {
	list, err := a.provider.ListVolumes(ctx, playbook.ProjectLabels(projectID))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	losses := make([]views.VolumeLoss, len(list))
	for i, v := range list {
		losses[i] = views.VolumeLoss{Name: v.Name}
		if losses[i].SizeBytes, err = a.provider.VolumeSize(ctx, v.Name); err != nil {
			losses[i].SizeBytes = -1
			a.log.Warn("measuring a volume", "volume", v.Name, "err", err)
		}
	}
	slices.SortFunc(losses, func(a, b views.VolumeLoss) int { return strings.Compare(a.Name, b.Name) })
	return losses, nil
}

// watchEdge starts the edge again when it ends, and tells it what it may have missed.
func (a *App) watchEdge(ctx context.Context) error {
	a.keeper.Watch(ctx, func() {
		if err := a.edge.Refresh(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("the edge was not told its routes; it goes on with those it has kept", "err", err)
		}
	})
	return nil
}

// applied answers the variables that a project's current deployment was last
// started with.
func (a *App) applied(ctx context.Context, userID, projectID string) (coderunner.Variables, bool, error) {
	d, err := a.store.CurrentDeployment(ctx, userID, projectID)
	if coderunner.KindOf(err) == coderunner.NotFound {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	variables, err := a.engine.DeploymentVariables(ctx, projectID, d.ID)
	return variables, err == nil, err
}

// watchRoutes keeps the edge's table true: at each change, and every few seconds
// in case a notice was lost.
func (a *App) watchRoutes(ctx context.Context) error {
	changed, unsubscribe := a.hub.SubscribeRoutes()
	defer unsubscribe()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
		if err := a.edge.Refresh(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("the edge was not told its routes; it goes on with those it has", "err", err)
		}
	}
}
