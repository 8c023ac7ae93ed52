package containerd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// ctx adds the engine's namespace.
func (p *Provider) ctx(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, p.cfg.Namespace)
}

// translate turns an error of the engine into one of the contract.
func (p *Provider) translate(err error, doing string) error {
	var known *coderunner.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled):
		return err
	case status.Code(err) == codes.Canceled:
		return context.Canceled
	case isDown(err): // also of a call whose time ended while it waited for a connection
		p.bringBack()
		return coderunner.Wrap(err, coderunner.Unavailable, "%s", p.downSentence())
	case errors.Is(err, context.DeadlineExceeded):
		return err
	case isDiskFull(err):
		return coderunner.Wrap(err, coderunner.Unavailable, "The server's disk is full. Free some space, then try again.")
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// downSentence says what to do about a daemon that is away; only our own comes back by itself.
func (p *Provider) downSentence() string {
	if p.cfg.Address != "" {
		return fmt.Sprintf("containerd, which runs the sandboxes, does not answer at %s. Start it there; CodeRunner goes on once it answers.", p.cfg.Address)
	}
	return fmt.Sprintf("containerd, which runs the sandboxes, does not answer. CodeRunner starts it again by itself; if this stays, look into %s.", filepath.Join(p.cfg.EngineDir, "containerd.log"))
}

func isDown(err error) bool {
	return errdefs.IsUnavailable(err) || status.Code(err) == codes.Unavailable ||
		strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "connection error: desc") || strings.Contains(err.Error(), "error reading from server")
}

// bringBack starts the private daemon again, in the background and once at a time.
func (p *Provider) bringBack() {
	if p.cfg.Address != "" || !p.restart.TryLock() {
		return
	}
	go func() {
		defer p.restart.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), daemonStart+10*time.Second)
		defer cancel()
		// A failure shows at the next call, which comes back here.
		_ = ensureDaemon(ctx, p.cfg.EngineDir)
	}()
}

func notFound(name string) error {
	return coderunner.Errorf(coderunner.NotFound, "There is no sandbox %q.", name)
}

func stopped(name string) error {
	return coderunner.Errorf(coderunner.NotFound, "The sandbox %q does not run.", name)
}

// isGone reports that what an engine was asked about does not exist.
func isGone(err error) bool { return errdefs.IsNotFound(err) || status.Code(err) == codes.NotFound }
