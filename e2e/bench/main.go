// Command bench measures the speed and memory of CodeRunner and prints a table.
// It works on a disk image of its own, since a file system's state distorts what
// is measured, and removes everything afterwards. docs/PERFORMANCE.md tells what
// the rows mean. A missed target is a row that says so; only what is broken
// makes it fail.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	program := flag.String("program", "bin/coderunner", "the program to measure")
	scratch := flag.String("scratch", os.TempDir(), "where the disk image is made; it grows to some 4 GiB")
	rounds := flag.Int("rounds", 5, "how many deploys to measure; small things are measured more often")
	only := flag.String("only", "", "measure only parts with this in their name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	limit, cancel := context.WithTimeout(ctx, time.Hour)
	err := run(limit, *program, *scratch, *only, *rounds)
	interrupted := ctx.Err() != nil
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		if interrupted {
			os.Exit(130)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, program, scratch, only string, rounds int) (err error) {
	disk, err := mountDisk(ctx, scratch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.remove()) }()
	b := &bench{program: program, dir: disk.mount, rounds: max(1, rounds), progress: os.Stderr}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.open(ctx); err != nil {
		return err
	}
	defer func() { b.report.print(os.Stdout) }() // what there is, also when a part is broken
	for _, part := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"deploys beside bare npm and node", b.deploys},
		{"deploys again", b.again},
		{"sandboxes beside runc", b.sandboxes},
		{"snapshots", b.snapshots},
		{"lines of the log", b.lines},
		{"lines of an app", b.runtimeLines},
		{"the server's start and memory", b.serving},
		{"pages with 1,000 projects", b.pages},
	} {
		if !strings.Contains(part.name, only) {
			continue
		}
		fmt.Fprintf(b.progress, "bench: %s …\n", part.name)
		if err := part.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}
