package project_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// noise is text that cannot be compressed much.
func noise(t *testing.T, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.NewChaCha8([32]byte{byte(n)}).Read(b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestUploadsOfAUserHaveALimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Quota = 100 << 10
	if _, _, err := w.NewFromUpload(t.Context(), w.ada.ID, "one", "one.tar", archive(t, "package.json", "{}", "a", noise(t, 60<<10)), nil); err != nil {
		t.Fatal(err)
	}
	_, _, err := w.NewFromUpload(t.Context(), w.ada.ID, "two", "two.tar", archive(t, "package.json", "{}", "a", noise(t, 61<<10)), nil)
	if wantKind(t, "an upload over the limit", err, coderunner.TooLarge); !strings.Contains(coderunner.Sentence(err), "over the limit") {
		t.Errorf("it is told as %v", err)
	}
	if blobs := must(filepath.Glob(filepath.Join(w.bundles, "blobs", "*", "*")))(t); len(blobs) != 1 {
		t.Errorf("it left %q", blobs)
	}
	if _, _, err := w.NewFromUpload(t.Context(), w.bob.ID, "two", "two.tar", archive(t, "package.json", "{}", "a", noise(t, 61<<10)), nil); err != nil {
		t.Errorf("another user's upload: %v", err)
	}
	w.Quota = 1 << 10 // what is full is not read
	_, _, err = w.NewFromUpload(t.Context(), w.ada.ID, "three", "three.tar", unread{t}, nil)
	wantKind(t, "an upload of who has reached the limit", err, coderunner.TooLarge)
}

// unread is an upload that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the upload was read")
	return 0, io.EOF
}

func TestNoUploadIsTakenWithoutRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	full := coderunner.Errorf(coderunner.Unavailable, "The server is short of disk.")
	w.Room = func() error { return full }
	if _, _, err := w.NewFromUpload(t.Context(), w.ada.ID, "one", "one.tar", unread{t}, nil); !errors.Is(err, full) {
		t.Errorf("a new project answers %v", err)
	}
	p := must(w.Create(t.Context(), w.ada.ID, "shop"))(t)
	if _, err := w.Upload(t.Context(), w.ada.ID, p.ID, unread{t}, "two.tar", nil); !errors.Is(err, full) {
		t.Errorf("a new version answers %v", err)
	}
}
