package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	starts = 5
	settle = 5 * time.Second // until the memory of a server that has nothing to do is looked at
)

// serving measures the server's start with a database that exists, and its memory.
func (b *bench) serving(ctx context.Context) error {
	var used, ready, idle, edge samples
	rss, err := b.server.RSS()
	if err != nil {
		return err
	}
	used.add(mebibytes(rss))
	for range starts {
		if err := b.server.Stop(); err != nil {
			return err
		}
		if err := b.serve(ctx); err != nil {
			return err
		}
		ready.took(b.server.Ready)
		if status, _, err := b.client.Get(ctx, "localhost", "/healthz"); err != nil || status != http.StatusOK {
			return fmt.Errorf("a server that is ready answers %d (%s)", status, fmt.Sprint(err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settle):
		}
		rss, err := b.server.RSS()
		if err != nil {
			return err
		}
		idle.add(mebibytes(rss))
		if rss, err = b.server.EdgeRSS(ctx); err != nil {
			return err
		}
		edge.add(mebibytes(rss))
	}
	b.report.add(
		row{what: "serve: start until ready, database exists", unit: "ms", values: ready, target: 2000},
		row{what: "serve: memory when idle", unit: "MiB", values: idle, target: 60},
		row{what: "serve: memory after the deploys above", unit: "MiB", values: used},
		row{what: "edge: memory after them", unit: "MiB", values: edge},
	)
	return b.client.LogIn(ctx, email, b.password)
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }
