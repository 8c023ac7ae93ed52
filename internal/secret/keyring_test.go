package secret_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/secret"
)

func ring(t *testing.T, path string) *secret.KeyRing {
	t.Helper()
	k, err := secret.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealedOpensOnlyWhereItBelongs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data", "keyring.json")
	k := ring(t, path)
	sealed, err := k.Seal("project-1", "TOKEN", []byte("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("s3cret")) {
		t.Fatal("the ciphertext shows the plaintext")
	}
	// The same file, read again, opens it.
	got, err := ring(t, path).Open("project-1", "TOKEN", sealed)
	if err != nil || string(got) != "s3cret" {
		t.Fatalf("Open = %q, %v", got, err)
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	other := ring(t, filepath.Join(t.TempDir(), "keyring.json"))
	for name, try := range map[string]func() ([]byte, error){
		"another owner":   func() ([]byte, error) { return k.Open("project-2", "TOKEN", sealed) },
		"another name":    func() ([]byte, error) { return k.Open("project-1", "OTHER", sealed) },
		"a shifted bound": func() ([]byte, error) { return k.Open("project-1T", "OKEN", sealed) },
		"a flipped bit":   func() ([]byte, error) { return k.Open("project-1", "TOKEN", flipped) },
		"truncated":       func() ([]byte, error) { return k.Open("project-1", "TOKEN", sealed[:8]) },
		"empty":           func() ([]byte, error) { return k.Open("project-1", "TOKEN", nil) },
		"another ring":    func() ([]byte, error) { return other.Open("project-1", "TOKEN", sealed) },
	} {
		if got, err := try(); err == nil {
			t.Errorf("%s: opened as %q", name, got)
		}
	}
}

func TestRingFileIsPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring.json")
	ring(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %04o, want 0600", info.Mode().Perm())
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.Open(path); coderunner.KindOf(err) != coderunner.Invalid {
		t.Errorf("a ring that others can read was accepted: %v", err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.Open(path); coderunner.KindOf(err) != coderunner.Invalid {
		t.Errorf("a damaged ring was accepted or replaced: %v", err)
	}
}
