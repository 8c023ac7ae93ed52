package runlog

import (
	"context"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// world is a database with one run that this process owns.
type world struct {
	*store.Store
	run   coderunner.Run
	lease store.Lease
}

func newWorld(t *testing.T) world {
	t.Helper()
	return worldOn(t, store.New(testdb.NewPool(t)))
}

func worldOn(t *testing.T, st *store.Store) world {
	t.Helper()
	ctx := t.Context()
	user := must(st.CreateUser(ctx, "ada@example.com", "hash"))(t)
	project := must(st.CreateProject(ctx, user.ID, "Guest book", "guest-book"))(t)
	run, _, err := st.CreateRun(ctx, store.NewRun{ProjectID: project.ID, Playbook: "deploy", Steps: []coderunner.Step{{Name: "install", Title: "Install dependencies"}}})
	if err != nil {
		t.Fatal(err)
	}
	w := world{Store: st, run: run}
	w.lease = w.claim(t, "first")
	return w
}

// claim gives the run to an owner.
func (w world) claim(t *testing.T, owner string) store.Lease {
	t.Helper()
	claimed, ok, err := w.ClaimRun(t.Context(), w.run.ID, owner, time.Minute)
	if err != nil || !ok {
		t.Fatalf("claiming the run: %v %v", ok, err)
	}
	return store.Lease{RunID: claimed.ID, Owner: owner, Epoch: claimed.Epoch}
}

// takeOver gives the run to another owner, as if the lease had run out.
func (w world) takeOver(t *testing.T) store.Lease {
	t.Helper()
	if err := w.ReleaseRun(t.Context(), w.lease); err != nil {
		t.Fatal(err)
	}
	return w.claim(t, "second")
}

func (w world) finish(t *testing.T) {
	t.Helper()
	if err := w.FinishRun(t.Context(), w.lease, coderunner.RunSucceeded, nil); err != nil {
		t.Fatal(err)
	}
}

// writer is closed at the test's end. Losing the lease fails the test.
func (w world) writer(t *testing.T, secrets ...string) *Writer {
	t.Helper()
	log := must(NewWriter(t.Context(), w.Store, w.lease, NewRedactor(secrets...), func(err error) { t.Errorf("the log was lost: %v", err) }))(t)
	t.Cleanup(func() { _ = log.Close(context.Background()) })
	return log
}

// lines is the whole stored log. It fails the test where numbers are missing.
func (w world) lines(t *testing.T) []coderunner.LogLine {
	t.Helper()
	lines := must(w.LogAfter(t.Context(), w.run.ID, 0, 1<<20))(t)
	wantNumbers(t, lines, 1)
	return lines
}

func wantNumbers(t *testing.T, lines []coderunner.LogLine, first int64) {
	t.Helper()
	for i, line := range lines {
		if line.Seq != first+int64(i) {
			t.Fatalf("line %d has number %d", first+int64(i), line.Seq)
		}
	}
}

func texts(lines []coderunner.LogLine) []string {
	all := make([]string, len(lines))
	for i, line := range lines {
		all[i] = line.Text
	}
	return all
}

func flush(t *testing.T, log *Writer) {
	t.Helper()
	if err := log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// cut answers the lines that a stream makes of chunks, without a database.
func cut(t *testing.T, redact *Redactor, chunks ...string) []string {
	t.Helper()
	var lines []string
	out := &stream{redact: redact, emitted: func(text string) error {
		lines = append(lines, text)
		return nil
	}}
	for _, chunk := range chunks {
		if n, err := out.Write([]byte(chunk)); n != len(chunk) || err != nil {
			t.Fatalf("writing %q: %d %v", chunk, n, err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// bytewise is text in chunks of one byte.
func bytewise(text string) []string {
	chunks := make([]string, len(text))
	for i := range chunks {
		chunks[i] = text[i : i+1]
	}
	return chunks
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
