// Command coderunner is the whole platform in one program.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// version is set by the release build.
var version = "development"

func main() {
	// Whoever reads our log may end before we do (coderunner serve | tee log): a lost
	// line must not keep us from putting the database down. Caught, and not ignored,
	// it stays as it was for the processes that we start.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "coderunner:", sentence(err))
		os.Exit(1)
	}
}

// sentence shows the cause as well: whoever reads this runs the machine.
func sentence(err error) string {
	if coderunner.KindOf(err) == coderunner.Internal {
		return err.Error()
	}
	text := coderunner.Sentence(err)
	if full := err.Error(); full != text {
		text += "\n  (" + full + ")"
	}
	return text
}
