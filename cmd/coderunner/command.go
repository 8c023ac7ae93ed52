package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coderunner/coderunner/internal/app"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge/daemon"
)

// command is the program's command line. Every flag can be given as an
// environment variable: CODERUNNER_ and its name in capitals.
func command() *cobra.Command {
	config := app.DefaultConfig()
	config.Version = version
	root := &cobra.Command{
		Use: "coderunner", Short: "Drop a folder of code, get a URL that works.", Version: version,
		SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags()) },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&config.DataDir, "data-dir", config.DataDir, "keys, uploads, volumes, the private database")
	flags.StringVar(&config.EngineDir, "engine-dir", "", "where the private containerd keeps its files (default <data-dir>/engine)")
	flags.StringVar(&config.Containerd, "containerd", "", "socket of a containerd that is already there")
	flags.StringVar(&config.Runtime, "runtime", config.Runtime, "containerd runtime; one that makes containers on this machine's own kernel")
	flags.IntVar(&config.MinFree, "min-free", config.MinFree, "percent of a disk below which deploys and uploads are refused")
	root.AddCommand(serveCommand(&config), analyzeCommand(), downCommand(&config), doctorCommand(&config), restoreCommand(&config), applianceCommand(&config), secretsCommand(&config), volumeCommand(&config), edgeCommand(&config))
	return root
}

func serveCommand(config *app.Config) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve the dashboard, the API and the apps", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
			return app.Run(cmd.Context(), *config, log, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config.Listen, "listen", config.Listen, "address of the dashboard and the apps; :8080 serves the network")
	flags.StringVar(&config.PublicURL, "public-url", "", "how browsers reach the dashboard (default http://localhost:<port>)")
	flags.StringVar(&config.AppsDomain, "apps-domain", config.AppsDomain, "apps are at <name>.<domain>")
	databaseFlag(flags, config)
	sourceFlags(flags, config)
	flags.Var((*size)(&config.MaxUpload), "max-upload", "the largest upload")
	flags.Var((*size)(&config.MaxStored), "max-stored", "what all uploads of one user may take together")
	flags.Var((*size)(&config.CacheBytes), "dependency-cache", "what installed dependencies may take, kept for the next deploy")
	flags.Var((*bound)(&config.UserCache), "package-cache", "what one user's builds may keep of what npm, pip and Go have downloaded, for the next; 0 for nothing")
	flags.IntVar(&config.Standbys, "standbys", config.Standbys, "sandboxes that are kept prepared, so that a deploy does not wait for their making; 0 for none")
	flags.IntVar(&config.LogDays, "keep-logs", config.LogDays, "days for which the logs of runs are kept; of each project's newest 50 always")
	flags.Var((*size)(&config.AppLimits.MemoryBytes), "app-memory", "memory of one app's sandbox")
	flags.Var((*size)(&config.DBLimits.MemoryBytes), "database-memory", "memory of one database's sandbox")
	flags.Var((*bound)(&config.AppLimits.DiskBytes), "app-disk", "what one app, or one build, may write to its disk before it is ended; 0 for no limit")
	flags.IntVar(&config.Throttle.LinesPerSecond, "log-rate", config.Throttle.LinesPerSecond, "lines a second that are stored of what one app prints; it may be ten times as many for a second")
	flags.Int64Var(&config.Retention.Lines, "log-lines", config.Retention.Lines, "lines of its apps that are kept for a project")
	flags.Var((*size)(&config.Retention.Bytes), "log-size", "likewise, their size")
	flags.DurationVar(&config.Retention.Age, "log-age", config.Retention.Age, "likewise, their age")
	flags.BoolVar(&verbose, "verbose", false, "log more")
	return cmd
}

func databaseFlag(flags *pflag.FlagSet, config *app.Config) {
	flags.StringVar(&config.DatabaseURL, "database-url", "", "a PostgreSQL of your own instead of the private one (environment: DATABASE_URL)")
}

// sourceFlags say where packages come from.
func sourceFlags(flags *pflag.FlagSet, config *app.Config) {
	s := &config.Sources
	flags.StringVar(&s.NPMRegistry, "npm-registry", "", "where npm packages come from, in templates, builds and apps")
	flags.StringVar(&s.PythonIndex, "python-index", "", "likewise Python's; with its path: https://pypi.example.com/simple")
	flags.StringVar(&s.AptMirror, "apt-mirror", "", "likewise Debian's, for templates; the security archive is beside it, named with -security")
	flags.StringVar(&s.GoProxy, "go-proxy", "", "likewise Go's modules, as GOPROXY is written")
	flags.StringVar(&s.HTTPProxy, "http-proxy", "", "the proxy that templates, builds and apps use for http")
	flags.StringVar(&s.HTTPSProxy, "https-proxy", "", "likewise for https")
	flags.StringVar(&s.NoProxy, "no-proxy", "", "hosts, domains and networks that are reached without a proxy, with commas between")
	flags.StringVar(&config.CABundle, "ca-bundle", "", "file of the certificates that builds and downloads trust (default this machine's)")
}

func analyzeCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "analyze FOLDER|ARCHIVE", Short: "Print how a project would be run, and why", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return app.Analyze(cmd.Context(), names[0], asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, with every field")
	return cmd
}

func downCommand(config *app.Config) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop the server, the apps and the databases; keep the data", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return app.Down(cmd.Context(), *config, cmd.OutOrStdout())
		},
	}
}

func doctorCommand(config *app.Config) *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor", Short: "Try what CodeRunner depends on", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return app.Doctor(cmd.Context(), *config, cmd.OutOrStdout())
		},
	}
	sourceFlags(cmd.Flags(), config)
	return cmd
}

func restoreCommand(config *app.Config) *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore copy", Short: "Put a copy of the platform's database back, from before an upgrade", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return app.Restore(cmd.Context(), *config, args[0], cmd.OutOrStdout())
		},
	}
	databaseFlag(cmd.Flags(), config)
	return cmd
}

func applianceCommand(config *app.Config) *cobra.Command {
	parent := &cobra.Command{Use: "appliance", Short: "Work with appliances"}
	sourceFlags(parent.PersistentFlags(), config)
	parent.AddCommand(&cobra.Command{
		Use: "build [name …]", Short: "Build templates before they are needed; all of them without a name",
		RunE: func(cmd *cobra.Command, names []string) error {
			return app.BuildTemplates(cmd.Context(), *config, names, cmd.OutOrStdout())
		},
	})
	return parent
}

// edgeCommand is what serve starts for the world's side.
func edgeCommand(config *app.Config) *cobra.Command {
	var edge daemon.Config
	cmd := &cobra.Command{
		Use: daemon.Command, Short: "Answer for the apps, beside serve, which starts this", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			edge.DataDir, edge.Version = config.DataDir, version
			return daemon.RunProcess(cmd.Context(), edge)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&edge.Listen, "listen", "", "address of the dashboard and the apps")
	flags.StringVar(&edge.AppsDomain, "apps-domain", "", "apps are at <name>.<domain>")
	flags.StringVar(&edge.DashboardHost, "dashboard-host", "", "never an app's")
	flags.StringVar(&edge.Scheme, "scheme", "", "how browsers reach the apps, if that is another than ours")
	return cmd
}

func secretsCommand(config *app.Config) *cobra.Command {
	parent := &cobra.Command{Use: "secrets", Short: "Look after the keys that secrets are encrypted with"}
	databaseFlag(parent.PersistentFlags(), config)
	for _, c := range []struct {
		use, short string
		run        func(context.Context, app.Config, io.Writer) error
	}{
		{"status", "Which keys there are, how old they are, and what is encrypted with each", app.SecretsStatus},
		{"rotate", "Make a new key and encrypt everything anew with it; the server may run", app.RotateSecrets},
		{"prune", "Remove the keys that nothing is encrypted with any more", app.PruneSecrets},
	} {
		parent.AddCommand(&cobra.Command{Use: c.use, Short: c.short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd.Context(), *config, cmd.OutOrStdout())
		}})
	}
	return parent
}

func volumeCommand(config *app.Config) *cobra.Command {
	parent := &cobra.Command{Use: "volume", Short: "Look after volumes that no project has; nothing deletes them by itself"}
	databaseFlag(parent.PersistentFlags(), config)
	parent.AddCommand(&cobra.Command{
		Use: "list", Short: "Which there are, and how much they have", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return app.Volumes(cmd.Context(), *config, cmd.OutOrStdout())
		},
	}, &cobra.Command{
		Use: "remove name", Short: "Delete one for good; asks for its name again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return app.RemoveVolume(cmd.Context(), *config, names[0], cmd.InOrStdin(), cmd.OutOrStdout())
		},
	})
	return parent
}

// fromEnvironment gives each flag that is not on the command line its variable's value.
func fromEnvironment(flags *pflag.FlagSet) error {
	var failed error
	flags.VisitAll(func(flag *pflag.Flag) {
		name := "CODERUNNER_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		if flag.Name == "database-url" {
			name = "DATABASE_URL"
		}
		value, set := os.LookupEnv(name)
		if !set || value == "" || flag.Changed || flag.Name == "help" || flag.Name == "version" || failed != nil {
			return
		}
		if err := flags.Set(flag.Name, value); err != nil {
			failed = coderunner.Errorf(coderunner.Invalid, "The environment variable %s cannot be used: %v.", name, err)
		}
	})
	return failed
}

// size is a flag in bytes, written like 256MiB.
type size int64

func (s *size) Set(text string) error {
	bytes, err := units.RAMInBytes(text)
	if err != nil || bytes <= 0 {
		return fmt.Errorf("%q is not a size; write it like 256MiB", text)
	}
	*s = size(bytes)
	return nil
}

func (s *size) String() string {
	return units.CustomSize("%.4g%s", float64(*s), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB"})
}
func (s *size) Type() string { return "size" }

// bound is a size that may be none.
type bound int64

func (b *bound) Set(text string) error {
	if text == "0" {
		*b = 0
		return nil
	}
	return (*size)(b).Set(text)
}

func (b *bound) String() string {
	if *b == 0 {
		return "0"
	}
	return (*size)(b).String()
}
func (b *bound) Type() string { return "size" }
