package housekeeping_test

import (
	"archive/tar"
	"strings"
	"testing"
)

// tarWith is an archive of one file.
func tarWith(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	out := tar.NewWriter(&b)
	if err := out.WriteHeader(&tar.Header{Name: "index.js", Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
