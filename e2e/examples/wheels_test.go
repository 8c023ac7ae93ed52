package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/examples"
)

func TestEveryExampleHasAProof(t *testing.T) {
	t.Parallel()
	for _, sample := range examples.Samples() {
		if proofs[sample.Name] == nil {
			t.Errorf("nothing proves that %s works", sample.Name)
		}
	}
	if len(proofs) != len(examples.Samples()) {
		t.Errorf("there are %d proofs for %d examples", len(proofs), len(examples.Samples()))
	}
}

func TestOneExampleIsChosenByName(t *testing.T) {
	t.Parallel()
	if one, err := choose([]string{"flask"}); err != nil || len(one) != 1 || one[0].Name != "flask" {
		t.Errorf("chosen are %v, %v", one, err)
	}
	if _, err := choose([]string{"flsk"}); err == nil || !strings.Contains(err.Error(), "flask") {
		t.Errorf("of a name that is not there it says %v", err)
	}
}

// TestPipInstallsFromTheIndex: what is made of a Debian package is what pip takes, with what it needs.
func TestPipInstallsFromTheIndex(t *testing.T) {
	wheels, err := wheelsIn(t.Context(), []string{debianPackage(t, "python3-upper", "Upper", "python3-lower (>= 1), python3:any, libc6"), debianPackage(t, "python3-lower", "lower.case", "")})
	if err != nil {
		t.Fatal(err)
	}
	index, err := serveIndex(wheels)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := index.Close(); err != nil {
			t.Error(err)
		}
	})
	target := t.TempDir()
	pip := exec.CommandContext(t.Context(), "python3", "-m", "pip", "install", "--quiet", "--target", target, "upper>=2")
	pip.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PIP_CONFIG_FILE=/dev/null"}
	for key, value := range indexVariables(index.address) {
		pip.Env = append(pip.Env, key+"="+value)
	}
	if out, err := pip.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"python3_upper.py", "python3_lower.py", "upper-2.1.dist-info/METADATA", "lower_case-2.1.dist-info/RECORD"} {
		if _, err := os.Stat(filepath.Join(target, name)); err != nil {
			t.Error(err)
		}
	}
}

// debianPackage builds one with a single module, and answers its file.
func debianPackage(t *testing.T, name, project, depends string) string {
	t.Helper()
	root := t.TempDir()
	control := "Package: " + name + "\nVersion: 2.1-1\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\nDescription: for a test\n"
	if depends != "" {
		control += "Depends: " + depends + "\n"
	}
	for path, text := range map[string]string{
		"DEBIAN/control": control,
		"usr/lib/python3/dist-packages/" + strings.ReplaceAll(name, "-", "_") + ".py": "",
		"usr/lib/python3/dist-packages/" + project + "-2.1.egg-info/PKG-INFO":         "Metadata-Version: 2.1\nName: " + project + "\nVersion: 2.1\n\nName: not this\n",
		"usr/lib/python3/dist-packages/" + project + "-2.1.egg-info/top_level.txt":    name,
		"usr/share/doc/" + name + "/copyright":                                        "",
	} {
		file := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), name+".deb")
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--build", root, file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}
