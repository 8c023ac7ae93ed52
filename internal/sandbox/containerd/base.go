package containerd

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

//go:embed base_root.sh
var baseRootScript string

// baseOptions are mmdebstrap's. Manuals and translations are left out of the base
// and, through dpkg's settings in it, of all that is installed over it.
var baseOptions = []string{
	"--mode=root", "--variant=minbase", "--format=directory",
	"--include=tini", // the first process of every sandbox
	"--dpkgopt=force-unsafe-io",
	"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
	"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/info/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/lintian/*",
}

// baseKey names the base that this program would make.
func baseKey(suite string) string {
	recipe := sha256.Sum256([]byte(baseRootScript + strings.Join(baseOptions, "\n") + plainSources(suite)))
	return "base-" + suite + "-" + hex.EncodeToString(recipe[:8])
}

// ensureBase answers the layer that templates of the suite begin with, made
// before or made now. Its file is in dir. Of several callers one makes it.
func ensureBase(ctx context.Context, from supply, dir, suite string, say func(string, ...any)) (layer, error) {
	key := baseKey(suite)
	site, err := enterWorksite(ctx, dir, key, sayer{say})
	if err != nil {
		return layer{}, err
	}
	defer site.leave()
	if base, err := readLayer(dir, key); err == nil {
		return base, nil
	}

	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return layer{}, coderunner.Wrap(err, coderunner.Unavailable,
			"Templates are made with mmdebstrap, which is not installed on this machine. Install it (apt-get install mmdebstrap) and try again.")
	}
	site.say("Preparing the base of all templates (Debian %s); this happens once …", suite)
	work := filepath.Join(dir, key+".work")
	if err := os.RemoveAll(work); err != nil {
		return layer{}, err
	}
	defer os.RemoveAll(work)
	for _, sub := range []string{"sources", "sources.debian"} {
		if err := os.MkdirAll(filepath.Join(work, sub), 0o755); err != nil {
			return layer{}, err
		}
	}
	if err := writeSources(from, work, suite); err != nil {
		return layer{}, err
	}
	sources, err := filepath.Glob(filepath.Join(work, "sources", "*"))
	if err != nil {
		return layer{}, err
	}
	sort.Strings(sources)
	args := slices.Clone(baseOptions)
	for _, option := range from.aptOptions() {
		args = append(args, "--aptopt="+option)
	}
	script := confined{
		from: from, dir: work, script: baseRootScript, args: append(append(args, suite, "root"), sources...),
		line: func(line string) { sayBaseLine(site.say, line) }, status: func(string) {},
	}
	if err := script.run(ctx); err != nil {
		return layer{}, err
	}
	site.say("Packing the base …")
	base, err := writeLayer(ctx, filepath.Join(work, key+".tar.zst"), "", filepath.Join(work, "root"))
	if err != nil {
		return layer{}, err
	}
	return base, keepLayer(dir, key, work, base)
}

// sayBaseLine tells what mmdebstrap has come to.
func sayBaseLine(say func(string, ...any), line string) {
	for begin, sentence := range map[string]string{
		"I: downloading packages": "Downloading the base's packages …",
		"I: installing essential": "Installing the base's packages …",
	} {
		if strings.HasPrefix(line, begin) {
			say("%s", sentence)
		}
	}
}

// readLayer finds a layer that keepLayer kept.
func readLayer(dir, key string) (layer, error) {
	text, err := os.ReadFile(filepath.Join(dir, key+".json"))
	if err != nil {
		return layer{}, err
	}
	var l layer
	if err := json.Unmarshal(text, &l); err != nil {
		return layer{}, err
	}
	info, err := os.Stat(filepath.Join(dir, l.File))
	if err == nil && info.Size() != l.Size {
		err = errDamaged
	}
	return l, err
}

// keepLayer moves a layer's file from work to dir; its description, written
// last, makes it count.
func keepLayer(dir, key, work string, l layer) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(work, l.File), filepath.Join(dir, l.File)); err != nil {
		return err
	}
	description := filepath.Join(work, key+".json")
	if err := os.WriteFile(description, text, 0o600); err != nil {
		return err
	}
	return replaceFile(description, filepath.Join(dir, key+".json"))
}

// forgetBase makes the next ensureBase start anew.
func forgetBase(dir, suite string) error {
	err := os.Remove(filepath.Join(dir, baseKey(suite)+".json"))
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// replaceFile puts a finished file in its place, whole or not at all.
func replaceFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	err = f.Sync()
	f.Close()
	if err != nil {
		return err
	}
	return os.Rename(from, to)
}

// sayer is an io.Writer for whole lines.
type sayer struct{ say func(string, ...any) }

func (s sayer) Write(lines []byte) (int, error) {
	for line := range strings.Lines(string(lines)) {
		s.say("%s", strings.TrimSuffix(line, "\n"))
	}
	return len(lines), nil
}
