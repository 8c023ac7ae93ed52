package load

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

//go:embed app
var files embed.FS

// App is the source of an app that Target's methods ask: it answers at once what it is
// sent, slowly under /slow?ms=…, and over a WebSocket.
func App() (fs.FS, error) { return fs.Sub(files, "app") }

// mostOpen bounds the requests under way; what would be more is recorded as a failure.
const mostOpen = 500

// Target is an app as the world sees it.
type Target struct {
	Address string // host:port that is dialled
	Host    string // that is asked for
}

// client has connections of its own, which it keeps for as long as the server does.
func (t Target) client() *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: mostOpen,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", t.Address)
		}}}
}

// Requests asks at a steady rate until ctx ends, whether answers come or not, and
// returns when all have. Every other request is a POST, which no client repeats
// when its connection breaks. A request's time begins when it was due.
func (t Target) Requests(ctx context.Context, perSecond int, r *Recorder) {
	client := t.client()
	defer client.CloseIdleConnections()
	var open sync.WaitGroup
	places := make(chan struct{}, mostOpen)
	begin := time.Now()
	for i := 0; ; i++ {
		due := begin.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
		select {
		case <-ctx.Done():
			open.Wait()
			return
		case <-time.After(time.Until(due)):
		}
		select {
		case places <- struct{}{}:
		default:
			r.Record(due, fmt.Errorf("%d requests wait already", mostOpen))
			continue
		}
		open.Go(func() {
			defer func() { <-places }()
			sent := ""
			if i%2 == 1 {
				sent = fmt.Sprintf("request %d", i)
			}
			r.Record(due, t.echo(client, sent))
		})
	}
}

// echo sends a text and wants it back; without one it asks.
func (t Target) echo(client *http.Client, sent string) error {
	method := http.MethodGet
	if sent != "" {
		method = http.MethodPost
	}
	body, err := t.ask(client, method, "/", sent)
	if err == nil && sent != "" && body != sent {
		err = fmt.Errorf("%q was answered %q", sent, body)
	}
	return err
}

// Slow asks for an answer that takes its time, once, and records whether it came as a whole.
func (t Target) Slow(takes time.Duration, r *Recorder) {
	client := t.client()
	defer client.CloseIdleConnections()
	begin := time.Now()
	body, err := t.ask(client, http.MethodGet, fmt.Sprintf("/slow?ms=%d", takes.Milliseconds()), "")
	if err == nil && body != "begun ended" {
		err = fmt.Errorf("a slow request was answered %q", body)
	}
	r.Record(begin.Add(takes), err)
}

// Get asks for a path at a steady rate until ctx ends, and wants 200.
func (t Target) Get(ctx context.Context, path string, perSecond int, r *Recorder) {
	client := t.client()
	defer client.CloseIdleConnections()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		begin := time.Now()
		_, err := t.ask(client, http.MethodGet, path, "")
		r.Record(begin, err)
	}
}

func (t Target) ask(client *http.Client, method, path, sent string) (string, error) {
	req, err := http.NewRequest(method, "http://"+t.Host+path, strings.NewReader(sent))
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s answers %d %.80q", method, path, res.StatusCode, body)
	}
	return string(body), err
}

// Socket keeps one WebSocket open until ctx ends and records each word that it
// says and hears back, ten a second. One that ends is a failure, and opened again.
func (t Target) Socket(ctx context.Context, r *Recorder) {
	for ctx.Err() == nil {
		begin := time.Now()
		if _, err := t.talk(ctx, r); err != nil && ctx.Err() == nil {
			r.Record(begin, fmt.Errorf("the WebSocket: %w", err))
		}
	}
}

// Sockets is Socket for an app whose versions change: a WebSocket may end, and is a
// failure only when no other can be opened at once.
func (t Target) Sockets(ctx context.Context, r *Recorder) {
	for ctx.Err() == nil {
		begin := time.Now()
		if heard, err := t.talk(ctx, r); err != nil && ctx.Err() == nil && heard == 0 {
			r.Record(begin, fmt.Errorf("the WebSocket: %w", err))
		}
	}
}

// talk opens one WebSocket and answers how many words it gave back until it ended.
func (t Target) talk(ctx context.Context, r *Recorder) (words int, err error) {
	client := t.client()
	client.Timeout = 0
	defer client.CloseIdleConnections()
	socket, res, err := websocket.Dial(ctx, "ws://"+t.Host+"/", &websocket.DialOptions{HTTPClient: client})
	if res != nil && res.Body != nil { // only a refusal has one
		res.Body.Close()
	}
	if err != nil {
		return 0, errors.Join(err, pause(ctx, 100*time.Millisecond))
	}
	defer func() { _ = socket.CloseNow() }()
	for ; ; words++ {
		if pause(ctx, 100*time.Millisecond) != nil {
			return words, socket.Close(websocket.StatusNormalClosure, "")
		}
		begin, word := time.Now(), fmt.Sprintf("word %d", words)
		if err := socket.Write(ctx, websocket.MessageText, []byte(word)); err != nil {
			return words, err
		}
		_, heard, err := socket.Read(ctx)
		if err != nil {
			return words, err
		}
		if string(heard) != word {
			return words, fmt.Errorf("%q was answered %q", word, heard)
		}
		r.Record(begin, nil)
	}
}

// pause answers ctx's error if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
