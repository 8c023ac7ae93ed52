package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/secret"
)

func seal(t *testing.T, k *secret.KeyRing, text string) []byte {
	t.Helper()
	sealed, err := k.Seal("project", "KEY", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func wantOpen(t *testing.T, k *secret.KeyRing, sealed []byte, want string) {
	t.Helper()
	if got, err := k.Open("project", "KEY", sealed); err != nil || string(got) != want {
		t.Errorf("opened as %q (%v), want %q", got, err, want)
	}
}

func wantClosed(t *testing.T, k *secret.KeyRing, sealed []byte) {
	t.Helper()
	if got, err := k.Open("project", "KEY", sealed); !errors.Is(err, secret.ErrCannotOpen) || coderunner.KindOf(err) != coderunner.Unavailable {
		t.Errorf("opened as %q (%v), want ErrCannotOpen", got, err)
	}
}

// Another process that holds the ring seals with the new key at once, and opens what
// either has sealed.
func TestRotationIsNoticedByWhoHoldsTheRing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring")
	server, tool := ring(t, path), ring(t, path)
	before := seal(t, server, "before")
	key, err := tool.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	after := seal(t, server, "after")
	if id, known := secret.KeyOf(after); !known || id != key.ID || !bytes.HasPrefix(after, secret.Header(key.ID)) {
		t.Errorf("the server seals with %s, want the new key %s", id, key.ID)
	}
	wantOpen(t, server, before, "before")
	wantOpen(t, tool, before, "before")
	wantOpen(t, tool, after, "after")
	keys, err := server.Keys()
	if err != nil || len(keys) != 2 || keys[0].ID != key.ID || !keys[0].Primary || keys[1].Primary || time.Since(keys[0].MadeAt) > time.Minute {
		t.Errorf("keys %+v, %v", keys, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("after the rotation the file is %v, %v", info.Mode(), err)
	}
}

func TestPruneRemovesWhatNothingUses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring")
	k := ring(t, path)
	first := seal(t, k, "first")
	firstKey, _ := secret.KeyOf(first)
	if _, err := k.Rotate(); err != nil {
		t.Fatal(err)
	}
	second := seal(t, k, "second")
	if _, err := k.Prune(map[secret.KeyID]bool{}, time.Now()); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("pruned at once: %v", err)
	}
	later := time.Now().Add(secret.Settled + time.Minute)
	if gone, err := k.Prune(map[secret.KeyID]bool{firstKey: true}, later); err != nil || len(gone) != 0 {
		t.Errorf("a key in use was removed: %v, %v", gone, err)
	}
	wantOpen(t, k, first, "first")
	if gone, err := k.Prune(map[secret.KeyID]bool{}, later); err != nil || len(gone) != 1 || gone[0].ID != firstKey {
		t.Errorf("removed %v, %v", gone, err)
	}
	for _, k := range []*secret.KeyRing{k, ring(t, path)} {
		wantClosed(t, k, first)
		wantOpen(t, k, second, "second")
	}
}

// A ring of the first version was Tink's keyset and nothing else.
func TestRingOfTheFirstVersionIsRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring")
	sealed := seal(t, ring(t, path), "old")
	var file struct{ Keyset json.RawMessage }
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &file)
	}
	if err != nil || file.Keyset == nil {
		t.Fatalf("%s, %v", b, err)
	}
	if err := os.WriteFile(path, file.Keyset, 0o600); err != nil {
		t.Fatal(err)
	}
	old := ring(t, path)
	wantOpen(t, old, sealed, "old")
	if _, err := old.Rotate(); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, ring(t, path), sealed, "old")
	if keys, err := old.Keys(); err != nil || len(keys) != 2 || keys[1].MadeAt.IsZero() {
		t.Errorf("keys %+v, %v", keys, err)
	}
}

// Without its file, a ring opens what it knows and seals nothing that nobody could open later.
func TestMissingFileSealsNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring")
	k := ring(t, path)
	sealed := seal(t, k, "x")
	for what, spoil := range map[string]func() error{
		"missing":              func() error { return os.Remove(path) },
		"damaged":              func() error { return os.WriteFile(path, []byte("{}"), 0o600) },
		"readable by everyone": func() error { return os.Chmod(path, 0o644) },
	} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := k.Check(); err == nil {
			t.Errorf("%s: Check says nothing", what)
		}
		if _, err := k.Seal("project", "KEY", []byte("y")); err == nil {
			t.Errorf("%s: something was sealed", what)
		}
		wantOpen(t, k, sealed, "x")
	}
}

// A ring in the place of another takes effect at once: what the other sealed stays closed.
func TestWrongRingOpensNothing(t *testing.T) {
	t.Parallel()
	path, other := filepath.Join(t.TempDir(), "keyring"), filepath.Join(t.TempDir(), "keyring")
	k := ring(t, path)
	sealed := seal(t, k, "x")
	ring(t, other)
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, k, sealed)
	if err := k.Check(); err != nil {
		t.Errorf("a whole ring is refused: %v", err)
	}
}

func TestHeadersThatAreNotOurs(t *testing.T) {
	t.Parallel()
	k := ring(t, filepath.Join(t.TempDir(), "keyring"))
	sealed := seal(t, k, "x")
	newer := bytes.Clone(sealed)
	newer[0] = 2
	for what, b := range map[string][]byte{"another format": newer, "none": nil, "half a header": sealed[:4]} {
		if id, known := secret.KeyOf(b); known {
			t.Errorf("%s: key %s", what, id)
		}
		wantClosed(t, k, b)
	}
	for i := range sealed { // any bit
		flipped := bytes.Clone(sealed)
		flipped[i] ^= 1 << (i % 8)
		wantClosed(t, k, flipped)
		wantClosed(t, k, sealed[:i])
	}
}

func TestManyRotateAndSealAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring")
	ring(t, path)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			k, err := secret.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			for range 5 {
				if _, err := k.Rotate(); err != nil {
					t.Error(err)
				}
				sealed, err := k.Seal("project", "KEY", []byte("x"))
				if err != nil {
					t.Error(err)
				}
				if _, err := k.Open("project", "KEY", sealed); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if keys, err := ring(t, path).Keys(); err != nil || len(keys) != 21 {
		t.Errorf("%d keys (%v), want the first and 20", len(keys), err)
	}
}
