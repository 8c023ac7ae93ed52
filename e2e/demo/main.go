// Command demo does the main job of CodeRunner once, through its API, against a
// server of its own: upload a folder, deploy it with a database, use the app,
// destroy it. It prints how long each part took, removes everything, and
// succeeds only if all of it held.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	program := flag.String("program", "bin/coderunner", "the program to run")
	scratch := flag.String("scratch", os.TempDir(), "where the temporary data directory is made")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	limit, cancel := context.WithTimeout(ctx, 20*time.Minute)
	err := run(limit, *program, *scratch)
	interrupted := ctx.Err() != nil
	cancel()
	stop()
	switch {
	case interrupted:
		fmt.Fprintf(os.Stderr, "\nInterrupted: %v\n", err)
		os.Exit(130)
	case err != nil:
		fmt.Fprintf(os.Stderr, "\nThe demo did not hold: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("\nAll of it held, and nothing is left.")
}

// run is the demo in a directory of its own, which is gone afterwards.
func run(ctx context.Context, program, scratch string) (err error) {
	dir, err := os.MkdirTemp(scratch, "coderunner-demo-")
	if err != nil {
		return err
	}
	d := &demo{program: program, dir: dir, out: os.Stdout}
	defer func() {
		left := d.clean()
		if left == nil {
			fmt.Println("  Everything was removed.")
		}
		err = errors.Join(err, left)
	}()
	// The private database's own account has to pass.
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	return d.play(ctx)
}
