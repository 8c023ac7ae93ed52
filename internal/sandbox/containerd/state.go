package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// A sandbox's directory:
//
//	network.json   its address
//	resolv.conf    how names are found; mounted
//	hosts          its own name; mounted
//	run/           pipes for standard input, mounted at inside.RunMount
//	processes/     one file for each long-lived process
//	output/<name>/ what that process printed
func (p *Provider) sandboxDir(name string) string {
	return filepath.Join(p.cfg.StateDir, "sandboxes", name)
}

// maxContainerID is containerd's limit.
const maxContainerID = 76

// containerID is the engine's name of a sandbox of this instance. Neither part has a dot.
func (p *Provider) containerID(name string) string {
	id := p.cfg.Instance + "." + name
	if len(id) <= maxContainerID {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return strings.TrimRight(id[:maxContainerID-17], "-.") + "-" + hex.EncodeToString(sum[:8])
}

var validName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func checkName(what, name string) error {
	if len(name) > 63 || !validName.MatchString(name) {
		return coderunner.Errorf(coderunner.Invalid, "%q cannot be the name of a %s: use at most 63 of a-z, 0-9 and single dashes.", name, what)
	}
	return nil
}

// readJSON takes an empty file for one that does not exist: a power cut may leave it,
// which had got its name already and not yet its content.
func readJSON(path string, value any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return &os.PathError{Op: "read", Path: path, Err: os.ErrNotExist}
	}
	return json.Unmarshal(text, value)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// includes reports whether all of want is in have.
func includes(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}
