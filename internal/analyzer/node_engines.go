package analyzer

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// maxLockfile is the largest lockfile that is looked into for what its packages need, in bytes.
const maxLockfile = 4 << 20

// lockedPackage is what a plan needs of an entry of package-lock.json.
type lockedPackage struct {
	Version     string `json:"version"`
	Optional    bool   `json:"optional"`
	DevOptional bool   `json:"devOptional"`
	Engines     any    `json:"engines"` // an object; old packages have a list
}

// engines are the locked packages that ask for a Node.js, by the range that they ask for.
type engines []struct{ wish, what string }

// lockedEngines reads them from npm's lockfile. Optional packages are left out by npm where they do not run.
func (a *nodeApp) lockedEngines() (all engines) {
	name := "package-lock.json"
	if a.hasFile("npm-shrinkwrap.json") {
		name = "npm-shrinkwrap.json"
	}
	if !a.hasFile(name) {
		return nil
	}
	data, err := a.tree.read(path.Join(a.root, name), maxLockfile)
	var lock struct {
		Packages map[string]lockedPackage `json:"packages"`
	}
	if err != nil || json.Unmarshal(data, &lock) != nil {
		return nil // npm will say so
	}
	for _, key := range slices.Sorted(maps.Keys(lock.Packages)) {
		p := lock.Packages[key]
		asked, _ := p.Engines.(map[string]any)
		wish, _ := asked["node"].(string)
		if key == "" || wish == "" || p.Optional || p.DevOptional {
			continue
		}
		label := key
		if at := strings.LastIndex(key, "node_modules/"); at >= 0 {
			label = key[at+len("node_modules/"):]
		}
		all = append(all, struct{ wish, what string }{wish, fmt.Sprintf("%s %s (%s in %s)", printable(label), printable(p.Version), printable(wish), place(name, lineOf(data, quotedKey(key))))})
	}
	return all
}

// missing names those that do not run on a Node.js.
func (e engines) missing(v version) (names []string) {
	for _, one := range e {
		if satisfied, understood := satisfies(one.wish, v); understood && !satisfied {
			names = append(names, one.what)
		}
	}
	return names
}

// warnEngines tells of locked packages that run on none of the Node.js that would do otherwise.
func (a *nodeApp) warnEngines(locked engines, v version, used string) {
	names := locked.missing(v)
	a.warn("Packages of the lockfile that ask for another Node.js than %s, which is used: %d, such as %s. They may fail.", used, len(names), names[0])
}

func quotedKey(key string) string {
	data, err := json.Marshal(key)
	if err != nil {
		return key
	}
	return string(data) + ":"
}
