package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// snapshots measures what a release costs: a sandbox with the files of a small
// bundle, a snapshot of it, and a sandbox made from that, with files as well.
func (b *bench) snapshots(ctx context.Context) error {
	bundle, err := tenFiles()
	if err != nil {
		return err
	}
	var plain, with, keep, from samples
	for i := range sandboxRounds + warmUp {
		if i == warmUp {
			plain, with, keep, from = nil, nil, nil, nil
		}
		first, second, third, kept := fmt.Sprintf("plain-%d", i), fmt.Sprintf("with-%d", i), fmt.Sprintf("from-%d", i), fmt.Sprintf("kept-%d", i)
		steps := []struct {
			into *samples
			do   func() error
		}{
			{&plain, func() error { return b.create(ctx, b.sandboxSpec(first, "bench")) }},
			{&with, func() error {
				spec := b.sandboxSpec(second, "bench")
				spec.Files = bundle
				return b.create(ctx, spec)
			}},
			{&keep, func() error { return b.provider.Snapshot(ctx, second, kept, nil) }},
			{&from, func() error {
				spec := b.sandboxSpec(third, "bench")
				spec.Snapshot, spec.Files = kept, bundle
				return b.create(ctx, spec)
			}},
		}
		for _, s := range steps {
			begin := time.Now()
			if err := s.do(); err != nil {
				return err
			}
			s.into.took(time.Since(begin))
		}
		for _, name := range []string{first, second, third} {
			if err := b.provider.Destroy(ctx, name); err != nil {
				return err
			}
		}
		if err := b.provider.RemoveSnapshot(ctx, kept); err != nil {
			return err
		}
	}
	b.report.add(
		row{what: "Sandbox: create with ten files", unit: "ms", values: with, target: 150},
		row{what: "  beyond one without", unit: "ms", values: differences(with, plain), target: 25},
		row{what: "Sandbox: end it and keep it as a snapshot", unit: "ms", values: keep},
		row{what: "Sandbox: create from a snapshot with ten files", unit: "ms", values: from, target: 150},
	)
	return nil
}

func (b *bench) create(ctx context.Context, spec sandbox.Spec) error {
	_, err := b.provider.Create(ctx, spec)
	return err
}

// differences of pairs that were measured beside each other.
func differences(a, b samples) samples {
	var d samples
	for i := range a {
		d.add(a[i] - b[i])
	}
	return d
}

// tenFiles is a small app's bundle.
func tenFiles() ([]sandbox.Archive, error) {
	var whole bytes.Buffer
	w := tar.NewWriter(&whole)
	for i := range 10 {
		text := strings.Repeat("// a line of code\n", 200)
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("src/part-%d.js", i), Mode: 0o644, Size: int64(len(text))}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, text); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(whole.Bytes())), nil }
	return []sandbox.Archive{{Dir: "/app", Tar: open}}, err
}
