package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// takeOverTime bounds the conversation of two edges.
const takeOverTime = 10 * time.Second

// The conversation, over the former edge's control socket. It goes on serving
// until it reads "done", and goes on for good when the connection ends before that.
//
//	new     POST /v1/handover
//	former  offer, with the listener as SCM_RIGHTS
//	new     close     only when its own address cannot be had while the former listens
//	former  closed
//	new     done      it accepts
//	former  leaving   it has stopped accepting
const (
	askClose   = "close"
	sayClosed  = "closed"
	askDone    = "done"
	sayLeaving = "leaving"
)

// offer describes the listener that comes with it.
type offer struct {
	Listen  string `json:"listen"`
	Address string `json:"address"`
}

// predecessor is the edge that runs already, as its successor sees it; nil when there is none.
type predecessor struct {
	conn   *net.UnixConn
	lines  *bufio.Reader
	offer  offer
	socket *os.File // its listener
}

// meet asks the edge that runs for its listener.
func meet(ctx context.Context, dataDir string) (*predecessor, error) {
	conn, err := dialUnix(ctx, currentSocket(dataDir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &predecessor{conn: conn, lines: bufio.NewReader(conn)}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if err := p.receive(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("taking over from the running edge: %w", err)
	}
	return p, nil
}

// receive reads the offer. The reads are our own: a reader that buffers would lose the descriptor.
func (p *predecessor) receive() error {
	if _, err := io.WriteString(p.conn, "POST /v1/handover HTTP/1.1\r\nHost: edge\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return err
	}
	text, rights := make([]byte, 4<<10), make([]byte, unix.CmsgSpace(4))
	n, got, flags, _, err := p.conn.ReadMsgUnix(text, rights)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:got])
	if err != nil || len(messages) != 1 || flags&unix.MSG_CTRUNC != 0 {
		return fmt.Errorf("it offers no listener: %.100q", text[:n])
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return fmt.Errorf("it offers %d listeners", len(fds))
	}
	unix.CloseOnExec(fds[0])
	p.socket = os.NewFile(uintptr(fds[0]), "the former edge's listener")
	return json.Unmarshal(text[:n], &p.offer)
}

// listener answers the predecessor's, if that is what is asked for, and a new one otherwise.
func (p *predecessor) listener(ctx context.Context, listen string) (*net.TCPListener, error) {
	if p == nil {
		return listenTCP(ctx, listen)
	}
	if satisfies(listen, p.offer.Listen, p.offer.Address) {
		listener, err := net.FileListener(p.socket)
		if err != nil {
			return nil, err
		}
		return listener.(*net.TCPListener), nil
	}
	listener, err := listenTCP(ctx, listen)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return listener, err
	}
	// 127.0.0.1:8080 and :8080 exclude each other.
	p.socket.Close()
	if err := p.ask(askClose, sayClosed); err != nil {
		return nil, err
	}
	return listenTCP(ctx, listen)
}

func listenTCP(ctx context.Context, address string) (*net.TCPListener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

// done makes the predecessor leave.
func (p *predecessor) done() error {
	if p == nil {
		return nil
	}
	return p.ask(askDone, sayLeaving)
}

func (p *predecessor) ask(line, want string) error {
	if _, err := io.WriteString(p.conn, line+"\n"); err != nil {
		return err
	}
	got, err := p.lines.ReadString('\n')
	if err != nil {
		return err
	}
	if strings.TrimSpace(got) != want {
		return fmt.Errorf("asked to %s, the former edge says %q", line, got)
	}
	return nil
}

func (p *predecessor) close() {
	if p != nil {
		p.socket.Close()
		p.conn.Close()
	}
}

// handOver is the former edge's part.
func (d *daemon) handOver(w http.ResponseWriter, _ *http.Request) {
	d.handing.Lock()
	defer d.handing.Unlock()
	d.front.mu.Lock()
	listener := d.front.listener
	d.front.mu.Unlock()
	if listener == nil {
		http.Error(w, "this edge does not accept", http.StatusConflict)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		d.Log.Error("handing over", "err", err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(takeOverTime))
	if err := pass(conn.(*net.UnixConn), listener, offer{d.Listen, d.edge.Address()}); err != nil {
		d.Log.Error("handing over", "err", err)
		return
	}
	if err := d.converse(conn, buffered.Reader); err != nil {
		d.Log.Warn("the edge that was to take over did not", "err", err)
	}
}

// converse does what the successor asks, until it accepts or is gone.
func (d *daemon) converse(conn net.Conn, lines *bufio.Reader) error {
	closed := false
	for {
		line, err := lines.ReadString('\n')
		switch strings.TrimSpace(line) {
		case askClose:
			d.front.close()
			closed = true
			_, err = io.WriteString(conn, sayClosed+"\n")
		case askDone:
			d.table.own(false)
			d.front.close()
			close(d.left)
			_, err := io.WriteString(conn, sayLeaving+"\n")
			return err
		}
		if err != nil {
			if closed {
				err = errors.Join(err, d.listenAgain())
			}
			return err
		}
	}
}

// listenAgain takes the address back that was closed for nothing.
func (d *daemon) listenAgain() error {
	listener, err := listenTCP(context.Background(), d.edge.Address())
	if err != nil {
		return err
	}
	d.front.accept(listener)
	return nil
}

// pass gives the listener on. Asking the file for its descriptor would make it
// block, here as well: the state is the listener's, not the descriptor's.
func pass(conn *net.UnixConn, listener *net.TCPListener, what offer) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	sent := raw.Control(func(fd uintptr) {
		_, _, err = conn.WriteMsgUnix(text, unix.UnixRights(int(fd)), nil)
	})
	return errors.Join(sent, err)
}
