package runlog

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

const (
	slowPoll  = 2 * time.Second // everybody looks this often, even if no notification came
	reconnect = time.Second
	pageLines = 500
)

// Hub wakes readers when something about a run, a runtime log or the routes has
// changed. It has one listening connection for all of them.
type Hub struct {
	store *store.Store
	poll  time.Duration // see slowPoll
	retry time.Duration // before listening again

	mu     sync.Mutex
	topics map[topic]map[chan struct{}]bool
	feeds  map[string]*feed // by project
	closed chan struct{}
}

// topic is what can change: a channel of the database's, and of which row.
type topic struct{ channel, id string }

var channels = [...]string{store.RunLogChannel, store.RuntimeLogChannel, store.RoutesChannel}

// NewHub returns a hub; Run makes it work.
func NewHub(st *store.Store) *Hub {
	return &Hub{store: st, poll: slowPoll, retry: reconnect, topics: map[topic]map[chan struct{}]bool{}, feeds: map[string]*feed{}, closed: make(chan struct{})}
}

// Run listens until ctx ends, then ends every Tail. It may be called once.
func (h *Hub) Run(ctx context.Context) error {
	defer close(h.closed)
	go func() {
		tick := time.NewTicker(h.poll)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				h.wakeAll()
			}
		}
	}()
	for ctx.Err() == nil {
		_ = h.listen(ctx) // whatever went wrong, the slow poll goes on and we try again
		select {
		case <-ctx.Done():
		case <-time.After(h.retry):
		}
	}
	return nil
}

// listen passes on notifications until its connection breaks.
func (h *Hub) listen(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, h.store.Pool().Config().ConnConfig.Copy())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, channel := range channels {
		// No query of sqlc's: LISTEN takes no parameters, and belongs to this connection.
		if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return err
		}
	}
	h.wakeAll() // what was said before we listened
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		h.mu.Lock()
		wake(h.topics[topic{n.Channel, n.Payload}])
		h.mu.Unlock()
	}
}

func (h *Hub) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, subscribers := range h.topics {
		wake(subscribers)
	}
}

// wake never waits: who has not yet looked will look once, and see all.
func wake(subscribers map[chan struct{}]bool) {
	for c := range subscribers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Subscribe returns a channel that gets a value after each change of the run, its
// steps or its log; several changes may come as one. The function ends it.
func (h *Hub) Subscribe(runID string) (<-chan struct{}, func()) {
	return h.subscribe(topic{store.RunLogChannel, runID})
}

// SubscribeRoutes is Subscribe for the routes.
func (h *Hub) SubscribeRoutes() (<-chan struct{}, func()) {
	return h.subscribe(topic{store.RoutesChannel, ""})
}

// SubscribeRuntime is Subscribe for a project's runtime log.
func (h *Hub) SubscribeRuntime(projectID string) (<-chan struct{}, func()) {
	return h.subscribe(topic{store.RuntimeLogChannel, projectID})
}

func (h *Hub) subscribe(to topic) (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics[to] == nil {
		h.topics[to] = map[chan struct{}]bool{}
	}
	h.topics[to][c] = true
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.topics[to], c)
		if len(h.topics[to]) == 0 {
			delete(h.topics, to)
		}
	}
}

// Closed is closed when the hub has stopped; long answers should end then.
func (h *Hub) Closed() <-chan struct{} { return h.closed }

// ErrClosed ends a Tail when the program stops; the reader may come back later.
var ErrClosed = errors.New("the server is stopping")

// Tail passes the run's lines after the cursor to yield, in order and each once,
// in pages of at most 500, and returns when the run has ended and all is read.
// yield's error, ctx's and ErrClosed end it earlier.
func (h *Hub) Tail(ctx context.Context, runID string, after int64, yield func([]coderunner.LogLine) error) error {
	changed, unsubscribe := h.Subscribe(runID)
	defer unsubscribe()
	for {
		// The state is read before the lines: an ended run writes none.
		run, err := h.store.RunByID(ctx, runID)
		if err != nil {
			return err
		}
		for {
			lines, err := h.store.LogAfter(ctx, runID, after, pageLines)
			if err != nil {
				return err
			}
			if len(lines) == 0 {
				break
			}
			if err := yield(lines); err != nil {
				return err
			}
			after = lines[len(lines)-1].Seq
		}
		if run.State.Ended() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-h.closed:
			return ErrClosed
		}
	}
}
