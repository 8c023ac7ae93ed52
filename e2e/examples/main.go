// Command examples deploys every app of the folder examples/ through the API of a server of its
// own, asks each for something that only works if it runs as it should, prints a table and
// removes everything. It succeeds only if all of them did.
//
// What Python's apps need comes from an index of its own, made of Debian's packages, unless
// another one is named.
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

	"github.com/coderunner/coderunner/examples"
	"github.com/coderunner/coderunner/internal/coderunner"
)

func main() {
	program := flag.String("program", "bin/coderunner", "the program to run")
	scratch := flag.String("scratch", os.TempDir(), "where the temporary data directory is made")
	index := flag.String("python-index", "", "the address of the Python package index; without it, one is made of Debian's packages")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: examples [flags] [name]")
		flag.PrintDefaults()
	}
	flag.Parse()
	samples, err := choose(flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	limit, cancel := context.WithTimeout(ctx, time.Hour)
	failed, err := run(limit, *program, *scratch, *index, samples)
	interrupted := ctx.Err() != nil
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "examples:", err)
	}
	switch {
	case interrupted:
		os.Exit(130)
	case err != nil || failed > 0:
		os.Exit(1)
	}
}

// choose answers the sample that is named, or all of them.
func choose(names []string) ([]coderunner.Sample, error) {
	all := examples.Samples()
	if len(names) == 0 {
		return all, nil
	}
	var has []string
	for _, sample := range all {
		if len(names) == 1 && sample.Name == names[0] {
			return []coderunner.Sample{sample}, nil
		}
		has = append(has, sample.Name)
	}
	return nil, fmt.Errorf("there is no example %q; there are %s", strings.Join(names, " "), strings.Join(has, ", "))
}

// run tries the samples one after the other on a server of its own, and answers how many failed.
func run(ctx context.Context, program, scratch, index string, samples []coderunner.Sample) (failed int, err error) {
	dir, err := os.MkdirTemp(scratch, "coderunner-examples-")
	if err != nil {
		return 0, err
	}
	s := &stand{program: program, dir: dir, pythonIndex: index}
	defer func() { err = errors.Join(err, s.close()) }()
	// The private database's own account has to pass.
	if err := os.Chmod(dir, 0o711); err != nil {
		return 0, err
	}
	if err := s.open(ctx, samples); err != nil {
		return 0, err
	}
	fmt.Printf("%-18s %-9s %-86s %8s  %s\n", "example", "type", "plan", "seconds", "what it did")
	for _, sample := range samples {
		row := s.try(ctx, sample)
		seconds := "-"
		if row.first > 0 {
			seconds = fmt.Sprintf("%.1f", row.first.Seconds())
		}
		said := row.did
		if row.err != nil {
			failed++
			said = "FAILED: " + row.err.Error()
		}
		fmt.Printf("%-18s %-9s %-86s %8s  %s\n", sample.Name, row.kind, row.plan, seconds, said)
		if ctx.Err() != nil {
			return failed, ctx.Err()
		}
	}
	fmt.Printf("\n%d passed, %d failed\n", len(samples)-failed, failed)
	return failed, nil
}
