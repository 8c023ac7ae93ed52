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

// warnEngines tells of locked packages that do not run on the Node.js of the plan. Optional
// ones are left out by npm itself.
func (a *nodeApp) warnEngines(v version) {
	name := "package-lock.json"
	if a.hasFile("npm-shrinkwrap.json") {
		name = "npm-shrinkwrap.json"
	}
	if !a.hasFile(name) {
		return
	}
	data, err := a.tree.read(path.Join(a.root, name), maxLockfile)
	var lock struct {
		Packages map[string]lockedPackage `json:"packages"`
	}
	if err != nil || json.Unmarshal(data, &lock) != nil {
		return // npm will say so
	}
	first, count := "", 0
	for _, key := range slices.Sorted(maps.Keys(lock.Packages)) {
		p := lock.Packages[key]
		engines, _ := p.Engines.(map[string]any)
		wish, _ := engines["node"].(string)
		if key == "" || wish == "" || p.Optional || p.DevOptional {
			continue
		}
		if satisfied, understood := satisfies(wish, v); satisfied || !understood {
			continue
		}
		if count++; count > 1 {
			continue
		}
		label := key
		if at := strings.LastIndex(key, "node_modules/"); at >= 0 {
			label = key[at+len("node_modules/"):]
		}
		first = fmt.Sprintf("%s %s (%s in %s)", printable(label), printable(p.Version), printable(wish), place(name, lineOf(data, quotedKey(key))))
	}
	if first != "" {
		a.warn("Packages of the lockfile that ask for another Node.js than 18, the only one available yet: %d, such as %s. They may fail.", count, first)
	}
}

func quotedKey(key string) string {
	data, err := json.Marshal(key)
	if err != nil {
		return key
	}
	return string(data) + ":"
}
