package app

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// shelf is a provider that has volumes and nothing else.
type shelf struct {
	sandbox.Provider
	names []string
}

func (s *shelf) ListVolumes(context.Context, map[string]string) (list []sandbox.Volume, err error) {
	for _, name := range s.names {
		list = append(list, sandbox.Volume{Name: name})
	}
	return list, nil
}
func (s *shelf) VolumeSize(context.Context, string) (int64, error) { return 3 << 20, nil }
func (s *shelf) RemoveVolume(_ context.Context, name string) error {
	s.names = slices.DeleteFunc(s.names, func(n string) bool { return n == name })
	return nil
}

// TestRemoveVolume: only what no project has goes, and only once its name was typed again.
func TestRemoveVolume(t *testing.T) {
	t.Parallel()
	v := newVault(t, 1)
	owned := "volume-" + v.ids[0]
	provider := &shelf{names: []string{owned, "left", "other", coderunner.CacheVolume("ada")}}
	var out strings.Builder
	if err := listOrphans(t.Context(), v.Store, provider, &out); err != nil || out.String() != "left  3MiB\nother  3MiB\n" {
		t.Errorf("listed are %q, %v", out.String(), err)
	}
	for _, tt := range []struct {
		name, typed string
		kind        coderunner.Kind
		says        string
	}{
		{owned, owned + "\n", coderunner.Conflict, "belongs to a project"},
		{"cache-ada", "cache-ada\n", coderunner.Conflict, "is the package cache of a user"},
		{"unknown", "unknown\n", coderunner.NotFound, "There is no volume"},
		{"left", "lef\n", coderunner.Invalid, "Nothing was deleted"},
		{"left", "", coderunner.Invalid, "Nothing was deleted"},
		{"left", "yes\n", coderunner.Invalid, "Nothing was deleted"},
	} {
		err := removeOrphan(t.Context(), v.Store, provider, tt.name, strings.NewReader(tt.typed), &out)
		if coderunner.KindOf(err) != tt.kind || !strings.Contains(coderunner.Sentence(err), tt.says) || len(provider.names) != 4 {
			t.Errorf("removing %s with %q typed: %v; there are %v", tt.name, tt.typed, err, provider.names)
		}
	}
	out.Reset()
	if err := removeOrphan(t.Context(), v.Store, provider, "left", strings.NewReader("left\n"), &out); err != nil || !slices.Equal(provider.names, []string{owned, "other", "cache-ada"}) {
		t.Errorf("removing left: %v; there are %v", err, provider.names)
	}
	if !strings.HasPrefix(out.String(), "This deletes 3MiB of data for good. Type the volume's name to go on: ") || !strings.HasSuffix(out.String(), "Deleted the volume left.\n") {
		t.Errorf("it says %q", out.String())
	}
	provider.names = []string{owned, "cache-ada"}
	out.Reset()
	if err := listOrphans(t.Context(), v.Store, provider, &out); err != nil || out.String() != "Each volume belongs to a project.\n" {
		t.Errorf("listed are %q, %v", out.String(), err)
	}
}
