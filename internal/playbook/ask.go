package playbook

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

const (
	// askTime bounds one question to a server.
	askTime = 2 * time.Second
	// askSoon is the pause after an answer was missed that may come any moment.
	askSoon = 250 * time.Millisecond
)

// observe writes down what is seen of a sandbox. Where that its machine runs says too
// little, its server is asked, beside the looking; what it says is written then.
func (e *Engine) observe(ctx context.Context, r coderunner.SandboxRecord, state string, busy bool, m *mending) error {
	database := r.Purpose == coderunner.ForDatabase
	again := r.Purpose == coderunner.ForApp && (busy || r.Restarts > 0 || m.trouble(r.ID).tries > 0)
	if state != coderunner.SeenRunning || r.UnwantedAt != nil || !database && !again {
		m.unasked(r.ID)
		return e.store.ObserveSandbox(ctx, r.ID, state)
	}
	if !m.ask(r.ID) {
		return nil
	}
	e.busy.Add(1)
	go func() {
		defer e.busy.Done()
		state, since, err := e.ask(ctx, r, m)
		if err == nil {
			err = e.store.ObserveSandbox(ctx, r.ID, state)
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn("asking a server", "sandbox", r.ID, "err", err)
		}
		if state != coderunner.SeenRunning {
			since = time.Time{}
		}
		m.told(r.ID, since)
		if err == nil && state == coderunner.SeenStarting {
			time.AfterFunc(askSoon, e.Nudge)
		}
	}()
	return nil
}

// ask asks the server of a sandbox that runs, and answers how it is, and since when it
// runs. An app that has answered since then is not asked again: what it answers with is its own.
func (e *Engine) ask(ctx context.Context, r coderunner.SandboxRecord, m *mending) (state string, since time.Time, err error) {
	process, patience := appProcess, e.cfg.HealthTimeout
	if r.Purpose == coderunner.ForDatabase {
		process, patience = databaseProcess, databaseReady
	}
	status, err := e.provider.Process(ctx, r.ID, process)
	switch {
	case coderunner.KindOf(err) == coderunner.NotFound:
		return coderunner.SeenStarting, since, nil
	case err != nil:
		return "", since, err
	case !status.Running:
		return coderunner.SeenEnded, since, nil
	case r.Purpose == coderunner.ForApp && m.answered(r.ID, status):
		return coderunner.SeenRunning, status.StartedAt, nil
	}
	limit, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if r.Purpose == coderunner.ForDatabase {
		state, err = e.askDatabase(limit, r, m.answered(r.ID, status))
	} else {
		state, err = e.askApp(limit, r)
	}
	if ctx.Err() != nil {
		return "", since, ctx.Err()
	}
	if coderunner.KindOf(err) == coderunner.NotFound { // it goes just now
		return coderunner.SeenStarting, since, nil
	}
	if err == nil && state == coderunner.SeenSilent && time.Since(status.StartedAt) < patience {
		state = coderunner.SeenStarting
	}
	return state, status.StartedAt, err
}

// askApp requests what the health step of its deploy did.
func (e *Engine) askApp(ctx context.Context, r coderunner.SandboxRecord) (string, error) {
	d, err := e.store.DeploymentByID(ctx, r.DeploymentID)
	if err != nil {
		return "", err
	}
	p, err := e.store.ProjectByID(ctx, r.ProjectID)
	if err != nil {
		return "", err
	}
	address, err := e.provider.Address(ctx, r.ID, d.Plan.Port)
	if err != nil {
		return "", err
	}
	host, _ := e.cfg.PublicURL(p.Slug)
	x := execution{deployment: d}
	check := healthCheck{client: probeClient(address.Proxy), url: "http://" + host + x.healthPath()}
	status, err := check.try(ctx)
	if err == nil && status < http.StatusInternalServerError {
		return coderunner.SeenRunning, nil
	}
	return coderunner.SeenSilent, nil // whatever kept it from an answer
}

// askDatabase connects to a database's server. One of Redis wants a password also while it
// loads its data: until it has answered once, it is asked from inside as well.
func (e *Engine) askDatabase(ctx context.Context, r coderunner.SandboxRecord, answered bool) (string, error) {
	def, err := e.catalogue.Get(r.Appliance)
	if err != nil {
		return "", err
	}
	address, err := e.provider.Address(ctx, r.ID, def.Database.Port)
	if err != nil {
		return "", err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address.Proxy)
	if err != nil {
		return coderunner.SeenSilent, nil
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	state := greet(conn, def.Database.Protocol)
	if state != coderunner.SeenRunning || answered || def.Database.Protocol != coderunner.Redis {
		return state, nil
	}
	exit, err := e.provider.Exec(ctx, r.ID, sandbox.Command{Argv: def.Database.ReadyCommand})
	switch {
	case err != nil && ctx.Err() != nil:
		return coderunner.SeenSilent, nil
	case err == nil && exit.Code != 0:
		return coderunner.SeenStarting, nil
	}
	return state, err
}

// greet answers how a server is that somebody has just connected to. No password is shown.
func greet(conn io.ReadWriter, protocol coderunner.Protocol) (state string) {
	switch protocol {
	case coderunner.PostgreSQL:
		return greetPostgres(conn)
	case coderunner.MySQL:
		return greetMySQL(conn)
	case coderunner.Redis:
		return greetRedis(conn)
	}
	return coderunner.SeenRunning // it was connected to
}

// maxGreeting bounds what is read of a server's first message. All of it is read: who
// leaves some resets the connection, and the server writes that into its log.
const maxGreeting = 8 << 10

// greetPostgres begins a session, and goes once the server wants a password: it writes
// nothing about that into its log. While it starts or ends it has an error instead,
// 57P03 (protocol 3.0, "Message Formats").
func greetPostgres(conn io.ReadWriter) (state string) {
	hello := append([]byte{0, 0, 0, 0, 0, 3, 0, 0}, "user\x00app\x00database\x00app\x00\x00"...)
	binary.BigEndian.PutUint32(hello, uint32(len(hello)))
	if _, err := conn.Write(hello); err != nil {
		return coderunner.SeenSilent
	}
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return coderunner.SeenSilent
	}
	if head[0] != 'R' && head[0] != 'E' {
		return coderunner.SeenSilent
	}
	text, err := io.ReadAll(io.LimitReader(conn, min(int64(binary.BigEndian.Uint32(head[1:])), maxGreeting)-4))
	switch {
	case err != nil:
		return coderunner.SeenSilent
	case head[0] == 'E' && strings.Contains(string(text), "C57P03\x00"):
		return coderunner.SeenStarting
	}
	return coderunner.SeenRunning // it wants a password, or has another reason to refuse us
}

// greetMySQL waits for the server's greeting, and goes: it is the first packet of a
// session, a header of four bytes and then the version of the protocol, 10, or 255
// before an error ("Connection Phase Packets"; there is none for a server that starts,
// which does not listen).
func greetMySQL(conn io.Reader) (state string) {
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return coderunner.SeenSilent
	}
	if head[4] != 10 && head[4] != 255 {
		return coderunner.SeenSilent
	}
	size := int64(head[0]) | int64(head[1])<<8 | int64(head[2])<<16
	if _, err := io.ReadAll(io.LimitReader(conn, min(size, maxGreeting)-1)); err != nil {
		return coderunner.SeenSilent
	}
	return coderunner.SeenRunning
}

// greetRedis wants any line as the answer to a PING. It is an error, since we show no
// password, or another while data is read or where a connection is one too many.
func greetRedis(conn io.ReadWriter) (state string) {
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return coderunner.SeenSilent
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 1<<10)).ReadString('\n')
	switch {
	case strings.HasPrefix(line, "-LOADING "):
		return coderunner.SeenStarting
	case err != nil || line[0] != '+' && line[0] != '-':
		return coderunner.SeenSilent
	}
	return coderunner.SeenRunning
}

// asked is what is known of a server's answers.
type asked struct {
	under bool      // it is being asked
	since time.Time // the start of the process that has answered; zero for none
}

// ask reports whether a server is to be asked now: nobody does already.
func (m *mending) ask(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.asked[id]
	if a.under {
		return false
	}
	a.under = true
	m.asked[id] = a
	return true
}

// told keeps what came of it.
func (m *mending) told(id string, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked[id] = asked{since: since}
}

// answered reports whether a process has answered since it was started.
func (m *mending) answered(id string, status sandbox.ProcessStatus) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := m.asked[id].since
	return !since.IsZero() && since.Equal(status.StartedAt)
}

// unasked forgets a server that is not to be asked.
func (m *mending) unasked(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.asked[id].under {
		delete(m.asked, id)
	}
}
