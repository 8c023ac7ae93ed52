package runlog

import (
	"context"
	"slices"
	"sync"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// A feed keeps so many pages of up to feedLines lines and together so many bytes for
// readers that are not quite at the end.
const (
	feedPages = 64
	feedLines = 1000
	feedBytes = 8 << 20
)

// RuntimePage is a stretch of a runtime log, the same for everybody who reads it.
type RuntimePage struct {
	Lines []coderunner.RuntimeLine // at least one, unless a filter let none through

	mu       sync.Mutex
	rendered map[string][]byte
}

// Render answers the lines in a form, made by the first who asks for it.
func (p *RuntimePage) Render(form string, render func([]coderunner.RuntimeLine) ([]byte, error)) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if text, done := p.rendered[form]; done {
		return text, nil
	}
	text, err := render(p.Lines)
	if err == nil {
		if p.rendered == nil {
			p.rendered = map[string][]byte{}
		}
		p.rendered[form] = text
	}
	return text, err
}

// feed reads what is new in a project's runtime log once for all its readers.
type feed struct {
	hub     *Hub
	project string
	readers int // guarded by the hub
	stop    context.CancelFunc

	mu    sync.Mutex
	pages []*RuntimePage
	bytes int
	last  int64 // how far the pages go; -1 before that is known
	news  map[chan struct{}]bool
}

// RuntimeReader is one reader of a project's runtime log.
type RuntimeReader struct {
	feed *feed
	news chan struct{}
}

// ReadRuntime begins to read a project's runtime log; Close ends it.
func (h *Hub) ReadRuntime(projectID string) *RuntimeReader {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[projectID]
	if f == nil {
		f = &feed{hub: h, project: projectID, last: -1, news: map[chan struct{}]bool{}}
		var ctx context.Context
		ctx, f.stop = context.WithCancel(context.Background())
		h.feeds[projectID] = f
		go f.run(ctx)
	}
	f.readers++
	r := &RuntimeReader{feed: f, news: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.news[r.news] = true
	return r
}

// Close ends the reading. It may be called once.
func (r *RuntimeReader) Close() {
	f := r.feed
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if f.readers--; f.readers == 0 {
		f.stop()
		delete(f.hub.feeds, f.project)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.news, r.news)
}

// News gets a value when there may be something new; several changes may come as one.
func (r *RuntimeReader) News() <-chan struct{} { return r.news }

// Next answers the next lines after a number, at most 1,000, and how far the log was
// looked at for them: the number to go on after. The page is nil when nothing is new.
func (r *RuntimeReader) Next(ctx context.Context, filter coderunner.RuntimeFilter, after int64) (*RuntimePage, int64, error) {
	page, upToDate := r.feed.page(after)
	if upToDate {
		return nil, after, nil
	}
	if page == nil {
		return r.feed.hub.readRuntime(ctx, r.feed.project, filter, after)
	}
	last := page.Lines[len(page.Lines)-1].Seq
	if filter != (coderunner.RuntimeFilter{}) {
		page = &RuntimePage{Lines: slices.DeleteFunc(slices.Clone(page.Lines), func(l coderunner.RuntimeLine) bool { return !filter.Matches(l) })}
	}
	return page, last, nil
}

// readRuntime is Next without the feed, for a reader who is behind.
func (h *Hub) readRuntime(ctx context.Context, project string, filter coderunner.RuntimeFilter, after int64) (*RuntimePage, int64, error) {
	log, err := h.store.RuntimeLog(ctx, project)
	if err != nil || log.Last <= after {
		return nil, after, err
	}
	lines, err := h.store.RuntimeLogAfter(ctx, project, filter, after, pageLines)
	if err != nil {
		return nil, after, err
	}
	last := max(after, log.Last)
	if len(lines) == pageLines {
		last = lines[len(lines)-1].Seq
	} else if len(lines) > 0 {
		last = max(last, lines[len(lines)-1].Seq)
	}
	return &RuntimePage{Lines: lines}, last, nil
}

// page answers the lines that the feed has after a number, nil if it does not reach
// back that far, and whether there are none after it at all.
func (f *feed) page(after int64) (page *RuntimePage, upToDate bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last >= 0 && after >= f.last {
		return nil, true
	}
	if len(f.pages) == 0 || f.pages[0].Lines[0].Seq > after+1 {
		return nil, false
	}
	i, _ := slices.BinarySearchFunc(f.pages, after+1, func(p *RuntimePage, seq int64) int {
		if p.Lines[len(p.Lines)-1].Seq < seq {
			return -1
		}
		return 1
	})
	page = f.pages[i]
	from := slices.IndexFunc(page.Lines, func(l coderunner.RuntimeLine) bool { return l.Seq > after })
	if from == 0 {
		return page, false
	}
	return &RuntimePage{Lines: page.Lines[from:]}, false
}

// run reads until ctx ends.
func (f *feed) run(ctx context.Context) {
	changed, unsubscribe := f.hub.SubscribeRuntime(f.project)
	defer unsubscribe()
	for {
		if err := f.read(ctx); err != nil && ctx.Err() != nil {
			return // else whatever went wrong, the slow poll wakes us again
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (f *feed) read(ctx context.Context) error {
	if f.last < 0 { // nobody else writes it
		log, err := f.hub.store.RuntimeLog(ctx, f.project)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.last = log.Last
		wake(f.news) // those who looked before we knew
		f.mu.Unlock()
	}
	for {
		lines, err := f.hub.store.RuntimeLogAfter(ctx, f.project, coderunner.RuntimeFilter{}, f.last, feedLines)
		if err != nil || len(lines) == 0 {
			return err
		}
		f.add(&RuntimePage{Lines: lines})
	}
}

// add shows a page to all readers, and lets go of the oldest ones.
func (f *feed) add(p *RuntimePage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pages = append(f.pages, p)
	f.bytes += pageBytes(p)
	f.last = p.Lines[len(p.Lines)-1].Seq
	for len(f.pages) > 1 && (len(f.pages) > feedPages || f.bytes > feedBytes) {
		f.bytes -= pageBytes(f.pages[0])
		f.pages = slices.Delete(f.pages, 0, 1)
	}
	wake(f.news)
}

func pageBytes(p *RuntimePage) (bytes int) {
	for _, l := range p.Lines {
		bytes += len(l.Text) + 128
	}
	return bytes
}
