package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/housekeeping"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
	"github.com/coderunner/coderunner/internal/store"
)

// Volumes writes which volumes of this data directory no project has. The server may run.
func Volumes(ctx context.Context, config Config, out io.Writer) error {
	return withVolumes(ctx, config, func(st *store.Store, provider sandbox.Provider) error { return listOrphans(ctx, st, provider, out) })
}

// RemoveVolume deletes one that no project has, once its name was typed on in as well. Nothing else
// ever deletes such a volume.
func RemoveVolume(ctx context.Context, config Config, name string, in io.Reader, out io.Writer) error {
	return withVolumes(ctx, config, func(st *store.Store, provider sandbox.Provider) error {
		return removeOrphan(ctx, st, provider, name, in, out)
	})
}

func withVolumes(ctx context.Context, config Config, do func(*store.Store, sandbox.Provider) error) error {
	if err := config.check(); err != nil {
		return err
	}
	return withDatabase(ctx, config, func(st *store.Store) error {
		return withProvider(ctx, config, func(p *containerd.Provider) error { return do(st, p) })
	})
}

func listOrphans(ctx context.Context, st *store.Store, provider sandbox.Provider, out io.Writer) error {
	all, orphans, err := housekeeping.Volumes(ctx, st, provider)
	if err != nil {
		return err
	}
	if len(orphans) == 0 {
		fmt.Fprintln(out, "Each volume belongs to a project.")
	}
	for _, v := range all {
		if !orphans[v.Name] {
			continue
		}
		bytes, err := provider.VolumeSize(ctx, v.Name)
		if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
			return err
		}
		fmt.Fprintf(out, "%s  %s\n", v.Name, units.BytesSize(float64(bytes)))
	}
	return nil
}

func removeOrphan(ctx context.Context, st *store.Store, provider sandbox.Provider, name string, in io.Reader, out io.Writer) error {
	wanted := func() error {
		all, orphans, err := housekeeping.Volumes(ctx, st, provider)
		switch {
		case err != nil:
			return err
		case !slices.ContainsFunc(all, func(v sandbox.Volume) bool { return v.Name == name }):
			return coderunner.Errorf(coderunner.NotFound, "There is no volume %q. coderunner volume list names those that no project has.", name)
		case coderunner.IsCacheVolume(name):
			return coderunner.Errorf(coderunner.Conflict, "The volume %s is the package cache of a user. It goes by itself once it is larger than --package-cache.", name)
		case !orphans[name]:
			return coderunner.Errorf(coderunner.Conflict, "The volume %s belongs to a project. It goes when that is destroyed.", name)
		}
		return nil
	}
	if err := wanted(); err != nil {
		return err
	}
	bytes, err := provider.VolumeSize(ctx, name)
	if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return err
	}
	// An input that ends or breaks has said what it has said.
	fmt.Fprintf(out, "This deletes %s of data for good. Type the volume's name to go on: ", units.BytesSize(float64(bytes)))
	typed, _ := bufio.NewReader(in).ReadString('\n')
	if strings.TrimSpace(typed) != name {
		fmt.Fprintln(out)
		return coderunner.Errorf(coderunner.Invalid, "That is not its name. Nothing was deleted.")
	}
	if err := wanted(); err != nil { // it may have taken long to type
		return err
	}
	if err := provider.RemoveVolume(ctx, name); err != nil {
		return err
	}
	fmt.Fprintf(out, "Deleted the volume %s.\n", name)
	return nil
}
