package playbook

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// slowToBuild is a fake without the template of Node.js, whose build waits for the test.
type slowToBuild struct {
	*fake
	built chan struct{}
}

func (s *slowToBuild) HasTemplate(_ context.Context, ref sandbox.TemplateRef) (bool, error) {
	select {
	case <-s.built:
		return true, nil
	default:
		return ref.Name != "nodejs-18", nil
	}
}

func (s *slowToBuild) BuildTemplate(ctx context.Context, _ sandbox.Template, out io.Writer) error {
	if _, err := io.WriteString(out, "Fetching 400 packages …\n"); err != nil {
		return err
	}
	select {
	case <-s.built:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestTemplateIsBuiltBeforeEyes: a deploy whose template is not there says so, and shows
// what the build prints, while it is built.
func TestTemplateIsBuiltBeforeEyes(t *testing.T) {
	t.Parallel()
	slow := &slowToBuild{built: make(chan struct{})}
	c := newCalm(t, func(_ context.Context, _ *calm, e *Engine) {
		slow.fake = e.provider.(*fake)
		e.provider = slow
	})
	run := c.begin(t, c.samples[0])
	const absent, progress, ready = "The template nodejs-18 is not on this machine yet. Building it; this happens once and takes a minute or two.", "Fetching 400 packages …", "The template nodejs-18 is ready after "
	wake, unsubscribe := c.engine.hub.Subscribe(run.ID)
	defer unsubscribe()
	for text := ""; !strings.Contains(text, progress); text = c.logText(t, run.ID) {
		select {
		case <-wake:
		case <-time.After(time.Minute):
			t.Fatalf("a minute into the build the log is\n%s", c.logText(t, run.ID))
		}
	}
	if text := c.logText(t, run.ID); !strings.Contains(text, absent) || strings.Contains(text, ready) {
		t.Errorf("while the template is built, the log is\n%s", text)
	}
	close(slow.built)
	if run = c.ended(t, run.ID); run.State != coderunner.RunSucceeded {
		t.Fatalf("the deploy ended %s, %s", run.State, told(run.Failure))
	}
	if text := c.logText(t, run.ID); strings.Count(text, absent) != 1 || !strings.Contains(text, ready) {
		t.Errorf("afterwards the log is\n%s", text)
	}
}
