package playbook

import (
	"bytes"
	"io"
	"sync"
)

// builds remembers what a run's log has about the making of templates, so that another
// try does not tell it again.
type builds struct {
	mu   sync.Mutex
	told map[string]map[string]bool // lines by template
}

// begin answers a writer for one try at a template, and whether it is the first.
func (b *builds) begin(template string, out io.Writer) (w *news, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w = &news{out: out, before: b.told[template], lines: map[string]bool{}}
	return w, w.before == nil
}

// end keeps what a try told.
func (b *builds) end(template string, w *news) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.told == nil {
		b.told = map[string]map[string]bool{}
	}
	for line := range w.before {
		w.lines[line] = true
	}
	b.told[template] = w.lines
}

// news passes on whole lines that no earlier try told. It is for one goroutine.
type news struct {
	out    io.Writer
	before map[string]bool // read only
	lines  map[string]bool
	part   []byte
}

func (n *news) Write(data []byte) (int, error) {
	n.part = append(n.part, data...)
	for {
		end := bytes.IndexByte(n.part, '\n')
		if end < 0 {
			return len(data), nil
		}
		line := n.part[:end+1]
		n.part = n.part[end+1:]
		text := string(bytes.TrimSpace(line))
		if n.before[text] {
			continue
		}
		n.lines[text] = true
		if _, err := n.out.Write(line); err != nil {
			return 0, err
		}
	}
}
