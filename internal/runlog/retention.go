package runlog

import (
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// Retention says how much of a project's runtime log is kept; zero values mean the
// defaults. Whichever limit is reached first, the oldest lines go.
type Retention struct {
	Lines int64         // 200,000
	Bytes int64         // 100 MiB
	Age   time.Duration // 14 days
}

func (r Retention) orDefaults() Retention {
	if r.Lines == 0 {
		r.Lines = 200_000
	}
	if r.Bytes == 0 {
		r.Bytes = 100 << 20
	}
	if r.Age == 0 {
		r.Age = 14 * 24 * time.Hour
	}
	return r
}

const (
	trimEvery = 10 * time.Second
	trimLines = 5000 // in one write, during which nothing is added to that log
)

// keepTrimmed removes what is over the limits, again and again until ctx ends.
func (c *Collector) keepTrimmed(ctx context.Context) {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		if err := c.Trim(ctx); err != nil && ctx.Err() == nil && coderunner.KindOf(err) != coderunner.Unavailable {
			c.log.Warn("removing old lines of runtime logs", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Trim removes what is over the limits now.
func (c *Collector) Trim(ctx context.Context) error {
	keep := c.cfg.Retention
	limits := store.RuntimeLimits{Lines: keep.Lines, Bytes: keep.Bytes, Since: time.Now().Add(-keep.Age)}
	projects, err := c.store.RuntimeLogsToTrim(ctx, limits)
	if err != nil {
		return err
	}
	for _, project := range projects {
		for {
			removed, err := c.store.TrimRuntimeLog(ctx, project, limits, trimLines)
			if err != nil {
				return err
			}
			if removed < trimLines {
				break
			}
		}
	}
	return nil
}
