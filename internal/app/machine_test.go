package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/testdb"
)

func TestReleasesAreJudged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of             requirement
		version        string
		trouble        string // a part of it, "" for none
		cannotWorkWith bool
	}{
		{kernelNeeds, "6.18.44-generic", "", false},
		{kernelNeeds, "5.14.0", "", false},
		{kernelNeeds, "5.13.19", "5.14 is the lowest that is known to work", false},
		{kernelNeeds, "5.4.0-200-generic", "Linux 5.4 is too old: CodeRunner needs 5.12, which has mount_setattr", true},
		{postgresNeeds, "15.18", "", false},
		{postgresNeeds, "18beta1", "", false},
		{postgresNeeds, "14.2", "15.0 is the lowest that is known to work", false},
		{postgresNeeds, "12.20", "is too old", true},
		{containerdNeeds, "1.6.20~ds1", "", false},
		{containerdNeeds, "v2.1.0", "", false},
		{containerdNeeds, "1.5.9", "1.6 is the lowest that is known to work", false},
		{runcNeeds, "1.1.5+ds1", "", false},
		{runcNeeds, "1.0.0-rc93", "1.1 is the lowest that is known to work", false},
		{runcNeeds, "", "It does not tell its version", false},
	} {
		part, err := c.of.judge(c.version)
		if part.Version != c.version || !strings.Contains(part.Trouble, c.trouble) || (part.Trouble == "") != (c.trouble == "") || (err != nil) != c.cannotWorkWith {
			t.Errorf("%s %s is judged %+v, %v", c.of.name, c.version, part, err)
		}
		if err != nil && (coderunner.KindOf(err) != coderunner.Unavailable || coderunner.Sentence(err) != part.Trouble) {
			t.Errorf("it is refused with %v", err)
		}
	}
}

// TestPartsOfThisMachine: the tests run on what is known to work.
func TestPartsOfThisMachine(t *testing.T) {
	a := &App{config: Config{DataDir: t.TempDir(), DatabaseURL: testdb.New(t), Version: "1.2.3"}, log: slog.New(slog.DiscardHandler)}
	st, err := a.openDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	linux, kernelErr := kernel()
	database, databaseErr := postgres(t.Context(), st)
	for _, part := range []coderunner.Part{linux, database, runc(t.Context())} {
		if part.Trouble != "" || part.Version == "" || strings.Contains(part.Version, " ") {
			t.Errorf("%+v", part)
		}
	}
	if kernelErr != nil || databaseErr != nil {
		t.Error(kernelErr, databaseErr)
	}
	empty := t.TempDir()
	t.Setenv("PATH", empty)
	if part := runc(t.Context()); part.Version != "" || !strings.Contains(part.Trouble, "runc, which starts their processes, is not installed") {
		t.Errorf("without runc: %+v", part)
	}
	if err := os.WriteFile(filepath.Join(empty, "runc"), []byte("#!/bin/sh\necho runc version 1.0.1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if part := runc(t.Context()); part.Version != "1.0.1" || part.Trouble == "" {
		t.Errorf("with an old one: %+v", part)
	}
}
