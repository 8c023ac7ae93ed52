package platform

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/api"
)

// Event is one server-sent event as it came.
type Event struct {
	Name, ID, Data string
	At             time.Time
}

// Stream reads the events of a path until yield's error, or the end.
func (c *Client) Stream(ctx context.Context, path string, yield func(Event) error) error {
	res, err := c.Do(ctx, http.MethodGet, "localhost", path, nil, "Accept", "text/event-stream")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", path, res.StatusCode)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 16<<20)
	var event Event
	var data []string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			if data == nil {
				continue
			}
			event.Data, event.At = strings.Join(data, "\n"), time.Now()
			if err := yield(event); err != nil {
				return err
			}
			event, data = Event{}, nil
		case field == "event":
			event.Name = value
		case field == "id":
			event.ID = value
		case field == "data":
			data = append(data, value)
		}
	}
	return lines.Err()
}

// Followed is what was seen of a run.
type Followed struct {
	Run       api.Run
	Lines     int
	FirstLine time.Time // when the first line of the log came
}

var errEnded = errors.New("the run has ended")

// Follow reads a run's events until it has ended, and reconnects when cut off.
// line, if not nil, is given each line of the log once.
func (c *Client) Follow(ctx context.Context, runID string, line func(api.LogLine, time.Time)) (f Followed, err error) {
	after := int64(0)
	for ctx.Err() == nil {
		err = c.Stream(ctx, fmt.Sprintf("%s/runs/%s/events?after=%d", api.Prefix, runID, after), func(e Event) error {
			switch e.Name {
			case "log":
				var l api.LogLine
				if err := json.Unmarshal([]byte(e.Data), &l); err != nil {
					return err
				}
				if f.Lines++; f.Lines == 1 {
					f.FirstLine = e.At
				}
				after = l.Seq
				if line != nil {
					line(l, e.At)
				}
			case "run":
				return json.Unmarshal([]byte(e.Data), &f.Run)
			case "end":
				return errEnded
			}
			return nil
		})
		if errors.Is(err, errEnded) {
			return f, nil
		}
		if err != nil {
			return f, fmt.Errorf("following the run: %w", err)
		}
	}
	return f, ctx.Err()
}

// Succeeded is an error unless the run ended well.
func (f Followed) Succeeded() error {
	if f.Run.State == "SUCCEEDED" {
		return nil
	}
	if f.Run.Failure != nil {
		return fmt.Errorf("the %s ended %s: %s %s", f.Run.Playbook, f.Run.State, f.Run.Failure.Title, f.Run.Failure.Detail)
	}
	return fmt.Errorf("the %s ended %s", f.Run.Playbook, f.Run.State)
}
