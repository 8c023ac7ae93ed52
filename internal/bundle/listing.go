package bundle

import (
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coderunner/coderunner/internal/coderunner"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

type kind int

const (
	file kind = iota
	dir
	link
)

// entry is one file, directory or symbolic link that is kept.
type entry struct {
	path       string // slash-separated, relative, clean
	kind       kind
	executable bool
	size       int64
	target     string // of a link
	offset     int64  // where its content begins, in the source's own terms
	zip        zipData
}

// listing collects an archive's entries and refuses what must not be in it.
type listing struct {
	limits   Limits
	entries  []entry
	expanded int64
	text     int // bytes of paths and link targets
	seen     int // entries of the archive, kept or not
	omitted  omissions
}

// maxSeen bounds how many entries are read at all, in multiples of Limits.Entries:
// what is left out (node_modules) often has many more than what stays.
const maxSeen = 20

// maxText bounds the memory that names take, in bytes.
const maxText = 16 << 20

// admit judges one name of the archive. keep is false for what is left out and for the
// root itself.
func (l *listing) admit(name string, k kind) (clean string, keep bool, err error) {
	if l.seen++; l.seen > maxSeen*l.limits.Entries {
		return "", false, coderunner.Errorf(coderunner.TooLarge, "The archive has more than %d entries, most of which would be left out. Leave node_modules and the like out before packing.", maxSeen*l.limits.Entries)
	}
	if strings.HasPrefix(name, "/") {
		return "", false, refuse(name, "has an absolute name")
	}
	if strings.Contains(name, `\`) {
		return "", false, refuse(name, "has a backslash in its name")
	}
	if len(name) > l.limits.PathBytes {
		return "", false, coderunner.Errorf(coderunner.TooLarge, "The archive's entry %s has a name of %d bytes; at most %d are allowed.", shown(name), len(name), l.limits.PathBytes)
	}
	components := strings.Split(name, "/")
	components = slices.DeleteFunc(components, func(c string) bool { return c == "" || c == "." })
	if slices.Contains(components, "..") {
		return "", false, refuse(name, "points out of the archive (..)")
	}
	if len(components) > 0 && namesDrive(components[0]) {
		return "", false, refuse(name, "names a drive")
	}
	if err := checkText(name, name); err != nil {
		return "", false, err
	}
	if len(components) == 0 {
		if k != dir {
			return "", false, refuse(name, "has no name")
		}
		return "", false, nil
	}
	if name, note := omitted(components); name != "" {
		files := 1
		if k == dir {
			files = 0
		}
		l.omitted.add(name, note, files)
		return "", false, nil
	}
	if len(components) > l.limits.Depth {
		return "", false, coderunner.Errorf(coderunner.TooLarge, "The archive's entry %s lies %d directories deep; at most %d are allowed.", shown(name), len(components), l.limits.Depth)
	}
	for _, component := range components {
		if len(component) > 255 {
			return "", false, coderunner.Errorf(coderunner.TooLarge, "The archive's entry %s has a name of %d bytes in its path; at most 255 are allowed.", shown(name), len(component))
		}
	}
	if len(l.entries) >= l.limits.Entries {
		return "", false, l.tooMany()
	}
	return strings.Join(components, "/"), true, nil
}

// namesDrive reports whether a clean path would be absolute on Windows.
func namesDrive(clean string) bool {
	return len(clean) >= 2 && clean[1] == ':' && unicode.IsLetter(rune(clean[0]))
}

func (l *listing) tooMany() error {
	return coderunner.Errorf(coderunner.TooLarge, "The archive has more than %d files and directories. Leave out what the app does not need.", l.limits.Entries)
}

// add keeps an entry that admit let pass, and counts its size.
func (l *listing) add(e entry) error {
	if e.size < 0 || e.size > l.limits.ExpandedBytes || l.expanded+e.size > l.limits.ExpandedBytes {
		return coderunner.Errorf(coderunner.TooLarge, "The archive holds more than %s when unpacked (%s is where it went over). Leave out what the app does not need.",
			bytesText(l.limits.ExpandedBytes), shown(e.path))
	}
	if l.text += len(e.path) + len(e.target); l.text > maxText {
		return coderunner.Errorf(coderunner.TooLarge, "The archive's names take more than %s. Leave out what the app does not need.", bytesText(maxText))
	}
	l.expanded += e.size
	l.entries = append(l.entries, e)
	return nil
}

// finish judges the tree as a whole, takes a single top directory away, completes it with
// the directories that are only implied, and sorts it. sent is the archive's size.
func (l *listing) finish(sent int64) error {
	if l.expanded > ratioFloor && l.expanded > l.limits.Ratio*sent {
		return bomb(l.limits)
	}
	l.strip()
	tree := newNames()
	dirs := map[string]bool{}
	kept := l.entries[:0]
	for _, e := range l.entries {
		if e.kind == dir && dirs[e.path] {
			continue // directories may be named twice
		}
		if err := tree.add(e.path, e.kind); err != nil {
			return err
		}
		if e.kind == dir {
			dirs[e.path] = true
		}
		kept = append(kept, e)
	}
	l.entries = kept
	files := 0
	for _, e := range kept {
		if e.kind != dir {
			files++
		}
		for parent := path.Dir(e.path); parent != "." && !dirs[parent]; parent = path.Dir(parent) {
			if _, exists := tree.kinds[parent]; exists {
				return refuse(e.path, "lies below "+shown(parent)+", which is not a directory")
			}
			if len(l.entries) >= l.limits.Entries {
				return l.tooMany()
			}
			if err := tree.add(parent, dir); err != nil {
				return err
			}
			dirs[parent] = true
			l.entries = append(l.entries, entry{path: parent, kind: dir})
		}
	}
	if files == 0 {
		if left := l.omitted.list(); len(left) > 0 {
			return coderunner.Errorf(coderunner.Invalid, "The archive has no files that CodeRunner keeps; %s was left out. Pack the folder with your source code.", left[0].Name)
		}
		return coderunner.Errorf(coderunner.Invalid, "The archive has no files. Pack the folder with your source code.")
	}
	for i, e := range l.entries {
		if e.kind != link {
			continue
		}
		target, err := l.checkLink(e)
		if err != nil {
			return err
		}
		l.entries[i].target = target
	}
	slices.SortFunc(l.entries, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return nil
}

// strip removes the top directory if everything lies in one.
func (l *listing) strip() {
	if len(l.entries) == 0 {
		return
	}
	top, _, _ := strings.Cut(l.entries[0].path, "/")
	for _, e := range l.entries {
		if !strings.HasPrefix(e.path, top+"/") && (e.path != top || e.kind != dir) {
			return
		}
	}
	kept := l.entries[:0]
	for _, e := range l.entries {
		if e.path != top {
			e.path = e.path[len(top)+1:]
			kept = append(kept, e)
		}
	}
	l.entries = kept
}

// checkLink returns the link's clean target if it stays within the tree. No entry lies
// below a link, so the directories above one are real; ".." may only come first, where it climbs
// those; what follows then descends, and every other link on the way obeys the same rule.
func (l *listing) checkLink(e entry) (string, error) {
	target := e.target
	switch {
	case target == "":
		return "", refuse(e.path, "is a link to nothing")
	case strings.HasPrefix(target, "/") || namesDrive(path.Clean(target)):
		return "", refuse(e.path, "is a link to the absolute path "+shown(target))
	case strings.Contains(target, `\`):
		return "", refuse(e.path, "is a link with a backslash in its target")
	case len(target) > l.limits.PathBytes:
		return "", refuse(e.path, "is a link with too long a target")
	}
	if err := checkText(target, e.path); err != nil {
		return "", err
	}
	climbed, descended := 0, 0
	for component := range strings.SplitSeq(target, "/") {
		switch {
		case component == "" || component == ".":
		case component != "..":
			descended++
		case descended > 0:
			return "", refuse(e.path, "is a link with .. inside its target "+shown(target))
		default:
			climbed++
		}
	}
	if climbed > strings.Count(e.path, "/") {
		return "", refuse(e.path, "is a link that leaves the archive, to "+shown(target))
	}
	return path.Clean(target), nil
}

// names finds paths that some machine would take for one another.
type names struct {
	kinds  map[string]kind
	folded map[string]string
	fold   cases.Caser
}

func newNames() *names {
	return &names{kinds: map[string]kind{}, folded: map[string]string{}, fold: cases.Fold()}
}

func (n *names) add(name string, k kind) error {
	if _, exists := n.kinds[name]; exists {
		return refuse(name, "is in it twice")
	}
	key := n.key(name)
	if other, exists := n.folded[key]; exists {
		return refuse(name, "differs from "+shown(other)+" only by case or by how its letters are composed")
	}
	n.kinds[name], n.folded[key] = k, name
	return nil
}

func (n *names) key(name string) string {
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return norm.NFC.String(n.fold.String(norm.NFC.String(name)))
		}
	}
	return strings.ToLower(name)
}

// checkText refuses text that cannot be shown or stored for what it is.
func checkText(text, name string) error {
	if !utf8.ValidString(text) {
		return refuse(name, "has a name that is not valid UTF-8")
	}
	for _, r := range text {
		switch {
		case r == 0:
			return refuse(name, "has a NUL byte in its name")
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069':
			return refuse(name, "has a control character in its name")
		}
	}
	return nil
}

func refuse(name, why string) error {
	return coderunner.Errorf(coderunner.Invalid, "The archive cannot be used: its entry %s %s.", shown(name), why)
}

// shown makes any name of an archive fit to be read.
func shown(name string) string {
	const most = 80
	name = strings.ToValidUTF8(name, "\ufffd")
	if runes := []rune(name[:min(len(name), utf8.UTFMax*(most+1))]); len(runes) > most {
		name = string(runes[:most]) + "…"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range name {
		if !unicode.IsPrint(r) {
			r = '\ufffd'
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	return b.String()
}
