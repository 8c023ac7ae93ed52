package analyzer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// nodeAppliances are the versions of Node.js that there are appliances for, all with long-term support. The newest
// comes first: it is chosen where several would do.
var nodeAppliances = []version{{24, 21, 0}, {22, 23, 3}, {20, 20, 2}, {18, 20, 4}}

// runtime is a Node.js that the project's wish and the packages of its lockfile run on, as far as there is one.
func (a *nodeApp) runtime() coderunner.Runtime {
	wish, name, where := a.versionWish()
	asked := name + printable(wish)
	why, fitting := "the default", nodeAppliances
	if v, exact := exactVersion(wish); exact && v[0] >= oldestExact && !slices.Contains(nodeAppliances, v) {
		return a.exactRuntime(v, asked+" in "+where)
	}
	if wish != "" {
		why = fmt.Sprintf("%s in %s", asked, where)
		fitting = nil
		understood := true
		for _, v := range nodeAppliances {
			satisfied, clear := satisfies(wish, v)
			if understood = understood && clear; satisfied && clear {
				fitting = append(fitting, v)
			}
		}
		switch {
		case !understood:
			a.warn("The Node.js version %s in %s is not understood; Node.js %d is used.", asked, where, nodeAppliances[0][0])
			why, fitting = "the default", nodeAppliances
		case fitting == nil:
			v := nearest(wish)
			a.warn("The project asks for another Node.js (%s in %s) than those that there are: 18, 20, 22 and 24, or one exactly, such as 21.7.3. It may fail on %d.", asked, where, v[0])
			return nodeRuntime(v, "the nearest to "+asked+" in "+where)
		}
	}
	locked := a.lockedEngines()
	for i, v := range fitting {
		if len(locked.missing(v)) == 0 {
			if i > 0 {
				why = strings.TrimPrefix(why+"; ", "the default; ") + locked.missing(fitting[0])[0] + " does not run on " + strconv.Itoa(fitting[0][0])
			}
			return nodeRuntime(v, why)
		}
	}
	a.warnEngines(locked, fitting[0], strconv.Itoa(fitting[0][0]))
	return nodeRuntime(fitting[0], why)
}

// oldestExact is the oldest major version that npm of the appliances runs on.
const oldestExact = 18

// exactVersion reads a wish for one version and no other, such as v20.11.1.
func exactVersion(wish string) (version, bool) {
	text := strings.TrimSpace(strings.TrimPrefix(wish, "="))
	v, parts, ok := parseVersion(text)
	return v, ok && parts == 3 && strings.TrimPrefix(text, "v") == v.String()
}

// exactRuntime is one version of Node.js, which is put into a sandbox of the nearest appliance. That of 18 has
// Debian's npm, which runs on Debian's Node.js alone.
func (a *nodeApp) exactRuntime(v version, why string) coderunner.Runtime {
	if locked := a.lockedEngines(); len(locked.missing(v)) > 0 {
		a.warnEngines(locked, v, v.String())
	}
	r := nodeRuntime(nearest(fmt.Sprint(max(v[0], 20))), why+", which is fetched for the app")
	r.Version = v.String()
	return r
}

// nearest is the first version with an appliance that is not older than what is wished, or the newest.
func nearest(wish string) version {
	for major := 1; major < nodeAppliances[0][0]; major++ {
		if satisfied, _ := satisfies(wish, version{major, 999, 999}); !satisfied {
			continue
		}
		for _, v := range slices.Backward(nodeAppliances) {
			if v[0] >= major {
				return v
			}
		}
	}
	return nodeAppliances[0]
}

func nodeRuntime(v version, why string) coderunner.Runtime {
	major := strconv.Itoa(v[0])
	return coderunner.Runtime{Name: nodejs, Version: major, Appliance: "nodejs-" + major, Why: why}
}

// versionWish is the first version that the project asks for; name is the
// field's, for evidence, and ends in a space.
func (a *nodeApp) versionWish() (wish, name, where string) {
	if f, ok := a.pkg.engines.get("node"); ok && strings.TrimSpace(f.value) != "" {
		return strings.TrimSpace(f.value), "engines.node ", f.at()
	}
	for _, name := range []string{".nvmrc", ".node-version"} {
		if line, number := a.firstLine(name); line != "" {
			return line, "", fmt.Sprintf("%s:%d", name, number)
		}
	}
	if f, ok := a.pkg.volta.get("node"); ok && strings.TrimSpace(f.value) != "" {
		return strings.TrimSpace(f.value), "volta.node ", f.at()
	}
	if text, where := a.toolVersion("nodejs"); text != "" {
		return text, "nodejs ", where
	}
	return "", "", ""
}

type version [3]int

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

func (v version) compare(w version) int {
	for i := range v {
		if v[i] != w[i] {
			return v[i] - w[i]
		}
	}
	return 0
}

// aliases are nvm's names of versions.
var aliases = map[string]string{
	"node": "*", "latest": "*", "current": "*", "stable": "*", "lts": "*", "lts/*": "*", "lts/-1": "*",
	"lts/hydrogen": "18", "lts/iron": "20", "lts/jod": "22", "lts/krypton": "24", "lts/gallium": "16", "lts/fermium": "14",
	"hydrogen": "18", "iron": "20", "jod": "22", "krypton": "24", "gallium": "16",
}

// satisfies reports whether v is in the range, written as npm does. A bare or
// exact version asks for its major version alone: nobody means the patch.
func satisfies(wish string, v version) (satisfied, understood bool) {
	wish = strings.ToLower(strings.TrimSpace(wish))
	if alias, ok := aliases[wish]; ok {
		wish = alias
	}
	if len(wish) > 256 {
		return false, false
	}
	for _, alternative := range strings.Split(wish, "||") {
		ok, known := satisfiesAll(strings.TrimSpace(alternative), v)
		if !known {
			return false, false
		}
		satisfied = satisfied || ok
	}
	return satisfied, true
}

func satisfiesAll(comparators string, v version) (satisfied, understood bool) {
	if low, high, hyphen := strings.Cut(comparators, " - "); hyphen {
		from, _, ok1 := parseVersion(low)
		to, parts, ok2 := parseVersion(high)
		if !ok1 || !ok2 {
			return false, false
		}
		return v.compare(from) >= 0 && v.compare(ceiling(to, parts)) < 0, true
	}
	for _, operator := range []string{">=", "<=", ">", "<", "=", "^", "~"} {
		for strings.Contains(comparators, operator+" ") {
			comparators = strings.ReplaceAll(comparators, operator+" ", operator)
		}
	}
	satisfied = true
	for _, comparator := range strings.FieldsFunc(comparators, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		operand := strings.TrimLeft(comparator, "<>=^~")
		operator := comparator[:len(comparator)-len(operand)]
		w, parts, ok := parseVersion(operand)
		if !ok {
			return false, false
		}
		if parts == 0 && operator != "<" && operator != ">" {
			continue // * allows everything
		}
		var holds bool
		switch operator {
		case ">=":
			holds = v.compare(w) >= 0
		case ">":
			if parts == 3 {
				holds = v.compare(w) > 0
			} else {
				holds = parts > 0 && v.compare(ceiling(w, parts)) >= 0
			}
		case "<":
			holds = v.compare(w) < 0
		case "<=":
			holds = v.compare(ceiling(w, parts)) < 0
		case "~", "~>":
			holds = v.compare(w) >= 0 && v.compare(ceiling(w, min(parts, 2))) < 0
		case "^":
			holds = v.compare(w) >= 0 && v.compare(ceiling(w, 1)) < 0
		case "", "=":
			holds = v[0] == w[0]
		default:
			return false, false
		}
		satisfied = satisfied && holds
	}
	return satisfied, true
}

// ceiling is the first version after all that begin with the given parts of v.
func ceiling(v version, parts int) version {
	switch parts {
	case 0:
		return version{1 << 30}
	case 1:
		return version{v[0] + 1}
	case 2:
		return version{v[0], v[1] + 1}
	}
	return version{v[0], v[1], v[2] + 1}
}

// parseVersion reads 18, v18.2, 18.x, 18.2.1-rc.1 and *; parts is how many numbers there were.
func parseVersion(text string) (v version, parts int, ok bool) {
	text = strings.TrimPrefix(strings.TrimSpace(text), "v")
	text, _, _ = strings.Cut(text, "+")
	text, _, _ = strings.Cut(text, "-")
	numbers := strings.Split(text, ".")
	if len(numbers) > 3 {
		return version{}, 0, false
	}
	for i, number := range numbers {
		if number == "x" || number == "*" || number == "" && i == 0 && len(numbers) == 1 {
			return v, i, true
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > 1<<20 {
			return version{}, 0, false
		}
		v[i] = n
		parts = i + 1
	}
	return v, parts, true
}
