package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstallMakesAService: the unit is one that systemd takes, it runs what the program
// knows with settings that it knows, and what serve has started outlives it.
func TestInstallMakesAService(t *testing.T) {
	root, program := t.TempDir(), filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	making := func(goal string) {
		t.Helper()
		out, err := exec.Command("make", "-C", "../..", "-o", "deps-run", "-o", "build", goal, "AS_ROOT=", "PROGRAM="+program, "DESTDIR="+root, "LISTEN=:8081", "DATA_DIR=/srv/coderunner").CombinedOutput()
		if err != nil {
			t.Fatalf("make %s: %v\n%s", goal, err, out)
		}
	}
	making("install")
	settings := filepath.Join(root, "etc/default/coderunner")
	if err := os.WriteFile(settings, []byte(read(t, settings)+"CODERUNNER_MIN_FREE=5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	making("install") // as an upgrade, which keeps the settings
	installed := filepath.Join(root, "usr/local/bin/coderunner")
	if info, err := os.Stat(installed); err != nil || info.Mode().Perm() != 0o755 {
		t.Fatalf("the program is installed as %v, %v", info, err)
	}
	unit := read(t, filepath.Join(root, "etc/systemd/system/coderunner.service"))
	for _, line := range []string{"KillMode=process", "Restart=on-failure", "StartLimitIntervalSec=0", "OOMPolicy=continue", "EnvironmentFile=-/etc/default/coderunner", "WantedBy=multi-user.target"} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("the unit does not have the line %s", line)
		}
	}
	_, line, _ := strings.Cut(unit, "\nExecStart=/usr/local/bin/coderunner ")
	line, _, _ = strings.Cut(line, "\n")
	for _, setting := range strings.Fields(read(t, settings)) {
		if name, value, found := strings.Cut(setting, "="); found {
			t.Setenv(name, value)
		}
	}
	parent := command()
	serve, rest, err := parent.Find(strings.Fields(line))
	if err != nil || serve.Name() != "serve" || len(rest) > 0 {
		t.Fatalf("the unit runs %q, %q, %v", serve.Name(), rest, err)
	}
	if err := serve.ParseFlags(nil); err != nil {
		t.Fatal(err)
	}
	if err := parent.PersistentPreRunE(serve, nil); err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{"listen": ":8081", "data-dir": "/srv/coderunner", "min-free": "5"} {
		if got := serve.Flag(flag).Value.String(); got != want {
			t.Errorf("the service is started with --%s %q, want %q", flag, got, want)
		}
	}
	t.Run("systemd takes it", func(t *testing.T) {
		if _, err := exec.LookPath("systemd-analyze"); err != nil {
			t.Skip("systemd is not on this machine")
		}
		here := filepath.Join(t.TempDir(), "coderunner.service")
		if err := os.WriteFile(here, []byte(strings.ReplaceAll(unit, "/usr/local/bin/coderunner", installed)), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("systemd-analyze", "verify", "--recursive-errors=no", here).CombinedOutput(); err != nil || strings.Contains(string(out), "coderunner.service") {
			t.Errorf("systemd-analyze: %v\n%s", err, out)
		}
	})
	making("uninstall")
	if _, err := os.Stat(installed); err == nil {
		t.Error("the program is still there")
	}
	if text := read(t, settings); !strings.Contains(text, "CODERUNNER_MIN_FREE=5") {
		t.Errorf("the settings are gone: %q", text)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
