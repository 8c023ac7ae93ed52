package playbook

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// since makes what runs in a sandbox have run for longer.
func (w *ward) since(sandboxID, process string, ago time.Duration) {
	w.cloud.mu.Lock()
	defer w.cloud.mu.Unlock()
	w.cloud.sandboxes[sandboxID].processes[process].status.StartedAt = time.Now().Add(-ago)
}

// TestRevivedAppHasToAnswer before it is shown as running, and before its earlier ends are forgotten.
func TestRevivedAppHasToAnswer(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	var status atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(int(status.Load())) }))
	defer server.Close()
	w.cloud.address = server.Listener.Addr().String()
	status.Store(http.StatusServiceUnavailable)
	d := w.app("slow")
	w.look()
	want := func(when, seen string, standing coderunner.Standing) {
		t.Helper()
		w.look()
		if now, restarts := w.is(d); now.Observed != seen || now.Standing(time.Now()) != standing || restarts != 1 {
			t.Errorf("%s it is seen %s, %s, after %d starts; want %s, %s", when, now.Observed, now.Standing(time.Now()), restarts, seen, standing)
		}
	}
	want("while it does not answer", coderunner.SeenStarting, coderunner.StandingDown)
	w.since(d.AppSandboxID, appProcess, time.Hour)
	want("when it has not answered for long", coderunner.SeenSilent, coderunner.StandingSilent)
	if _, seen := w.mending.well[d.AppSandboxID]; seen {
		t.Error("what does not answer counts as well")
	}
	status.Store(http.StatusOK)
	want("once it answers", coderunner.SeenRunning, coderunner.StandingUp)
	if w.look(); w.mending.well[d.AppSandboxID].IsZero() {
		t.Error("what answers does not count as well")
	}
	status.Store(http.StatusServiceUnavailable)
	want("whatever it answers later", coderunner.SeenRunning, coderunner.StandingUp)
	w.ends(d.AppSandboxID)
	want("after its end", coderunner.SeenEnded, coderunner.StandingDown)
}

// TestDatabaseIsWhatItsServerSays, and not what its machine does.
func TestDatabaseIsWhatItsServerSays(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var says atomic.Pointer[string] // nil to hang
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if text := says.Load(); text != nil {
				_, _ = conn.Read(make([]byte, 256))
				_, _ = conn.Write([]byte(*text))
			}
			conn.Close()
		}
	}()
	defer listener.Close()
	w.cloud.database = listener.Addr().String()
	s := w.app("shop")
	database, err := w.store.EnsureDatabase(t.Context(), newDatabase(s.ProjectID, "postgres-15"))
	if err != nil {
		t.Fatal(err)
	}
	name := databaseSandbox(database.ID)
	record := coderunner.SandboxRecord{ID: name, Provider: "fake", ProjectID: s.ProjectID, Purpose: coderunner.ForDatabase, DatabaseID: database.ID, Appliance: "postgres-15"}
	if err := w.store.ExpectSandbox(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE databases SET sandbox_id = $1", name)
	w.look() // starts it
	want := func(when, text string, state coderunner.DatabaseState) {
		t.Helper()
		if says.Store(&text); text == "" {
			says.Store(nil)
		}
		w.look()
		project, err := w.store.ProjectByID(t.Context(), s.ProjectID)
		if err != nil {
			t.Fatal(err)
		}
		list, err := w.engine.Databases(t.Context(), project.UserID, project.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got := list[0].State(time.Now()); got != state || list[0].ObservedAt() == nil || time.Since(*list[0].ObservedAt()) > time.Minute {
			t.Errorf("%s it is %s, seen %v, want %s", when, got, list[0].ObservedAt(), state)
		}
	}
	want("when it wants a password", "R\x00\x00\x00\x08\x00\x00\x00\x0a", coderunner.DatabaseRunning)
	want("when it recovers", "E\x00\x00\x00\x20SFATAL\x00VFATAL\x00C57P03\x00Mhold\x00\x00", coderunner.DatabaseStarting)
	want("when it is full", "E\x00\x00\x00\x20SFATAL\x00VFATAL\x00C53300\x00Mmany\x00\x00", coderunner.DatabaseRunning)
	want("before it answers", "", coderunner.DatabaseStarting)
	w.since(name, databaseProcess, time.Hour)
	want("when it does not answer", "", coderunner.DatabaseDown)
	w.cloud.mu.Lock()
	w.cloud.sandboxes[name].processes[databaseProcess].end(9)
	w.cloud.mu.Unlock()
	want("when it has ended", "", coderunner.DatabaseCrashed)
	w.later()
	w.look()
	want("when it was started again", "R\x00\x00\x00\x08\x00\x00\x00\x0a", coderunner.DatabaseRunning)
	records, err := w.store.ProjectSandboxes(t.Context(), s.ProjectID)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if r.ID == name && (r.Restarts != 2 || r.RestartAt == nil || time.Until(*r.RestartAt) < time.Second) {
			t.Errorf("after two starts the next is not before %v: %+v", r.RestartAt, r)
		}
	}
}

// TestGreetings: what servers of each protocol say to somebody without a password.
func TestGreetings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		protocol   coderunner.Protocol
		says, want string
	}{
		{coderunner.PostgreSQL, "R\x00\x00\x00\x08\x00\x00\x00\x0a", coderunner.SeenRunning},
		{coderunner.PostgreSQL, "E\x00\x00\x00\x20SFATAL\x00VFATAL\x00C57P03\x00Mhold\x00\x00", coderunner.SeenStarting},
		{coderunner.PostgreSQL, "-NOAUTH Authentication required.\r\n", coderunner.SeenSilent},
		{coderunner.MySQL, "\x5a\x00\x00\x00\x0a5.5.5-10.11.6-MariaDB\x00", coderunner.SeenRunning},
		{coderunner.MySQL, "\x17\x00\x00\x00\xff\x10\x04Too many connections", coderunner.SeenRunning},
		{coderunner.MySQL, "HTTP/1.1 400 Bad Request\r\n", coderunner.SeenSilent},
		{coderunner.MySQL, "\x5a\x00", coderunner.SeenSilent},
		{coderunner.Redis, "-NOAUTH Authentication required.\r\n", coderunner.SeenRunning},
		{coderunner.Redis, "+PONG\r\n", coderunner.SeenRunning},
		{coderunner.Redis, "-ERR max number of clients reached\r\n", coderunner.SeenRunning},
		{coderunner.Redis, "-LOADING Redis is loading the dataset in memory\r\n", coderunner.SeenStarting},
		{coderunner.Redis, "-NOAUTH", coderunner.SeenSilent},
		{coderunner.Redis, "\r\n", coderunner.SeenSilent},
		{coderunner.Redis, "", coderunner.SeenSilent},
		{coderunner.MySQL, "", coderunner.SeenSilent},
	} {
		conn := struct {
			io.Reader
			io.Writer
		}{strings.NewReader(test.says), io.Discard}
		if got := greet(conn, test.protocol); got != test.want {
			t.Errorf("a %s server that says %q is %s, want %s", test.protocol, test.says, got, test.want)
		}
	}
}

// slowRedis starts the server so that it needs seconds to load what it has.
const slowRedis = `{ cat /usr/local/etc/redis/redis.conf; echo key-load-delay 500; } >/tmp/slow.conf
sed s,/usr/local/etc/redis/redis.conf,/tmp/slow.conf, /usr/local/bin/start_db.sh >/tmp/start_db.sh
exec sh /tmp/start_db.sh`

// TestRedisThatLoads is not ready yet, although it answers whoever shows no password.
func TestRedisThatLoads(t *testing.T) {
	t.Parallel()
	catalogue, err := appliance.Load(appliances.FS)
	if err != nil {
		t.Fatal(err)
	}
	def, err := catalogue.Get("redis-7")
	if err != nil {
		t.Fatal(err)
	}
	r := openTrial(t, catalogue, def)
	r.create()
	r.start()
	const fill = `REDISCLI_AUTH=$(cat /var/lib/redis/run/admin) redis-cli -s /var/lib/redis/run/redis.sock --user admin --no-auth-warning EVAL "for i = 1, 30000 do redis.call('SET', i, 'x') end" 0`
	if printed, code := r.run(r.database, nil, "sh", "-c", fill); code != 0 {
		t.Fatalf("filling it ended with exit code %d: %s", code, printed)
	}
	r.stop()
	if err := r.provider.Start(r.within(), r.database, databaseProcess, sandbox.Command{Argv: []string{"sh", "-c", slowRedis}}); err != nil {
		t.Fatal(err)
	}
	e, m := &Engine{provider: r.provider, catalogue: catalogue}, newMending()
	record := coderunner.SandboxRecord{ID: r.database, Purpose: coderunner.ForDatabase, Appliance: def.Name}
	look := func() string {
		state, since, err := e.ask(r.within(), record, m)
		if err != nil {
			t.Fatal(err)
		}
		if state != coderunner.SeenRunning {
			since = time.Time{}
		}
		m.told(record.ID, since)
		return state
	}
	if err := awaitDatabase(r.within(), r.provider, def, r.database, nil); err != nil {
		t.Fatalf("%v\n%s", err, r.printed())
	}
	if greeting := r.greeting(); greeting != coderunner.SeenRunning {
		t.Fatalf("whoever shows no password sees it %s; this test is about when that says nothing", greeting)
	}
	if state := look(); state != coderunner.SeenStarting {
		t.Errorf("while it loads it is seen %s\n%s", state, r.printed())
	}
	if err := awaitDatabase(r.within(), r.provider, def, r.database, def.Database.ReadyCommand); err != nil {
		t.Fatal(err)
	}
	within := r.within()
	for state := look(); state != coderunner.SeenRunning; state = look() { // a busy machine may answer late
		if within.Err() != nil {
			t.Fatalf("once it has loaded it is seen %s", state)
		}
	}
}
