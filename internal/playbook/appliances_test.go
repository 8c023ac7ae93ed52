package playbook

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
)

// speaker is how the test speaks with the servers of one protocol: as an app of the
// project does, over the network, with the variables that an app gets.
type speaker struct {
	client      []string // is given what to say as its last argument
	inside      bool     // the client is run in the database's own sandbox, since Node.js brings none
	write, read string   // the latter answers "kept\n"
	before      string   // what it is told while nobody has set a password
	refused     string   // what it is told with a wrong one
	hello, line string   // what the server answers to whoever shows no password
	admin       string   // who is the administrator inside, and nobody outside
	others      string   // a question that only the administrator may ask
	forbidden   string   // what everybody else is told
	server      string   // what its processes are called
	size, fits  string   // the question how much memory it takes for data, and what is in the answer under databaseLimits
}

// redisClient sends one command with the login of the app's variables, and prints the answer.
const redisClient = `
const url = new URL(process.env.REDIS_URL);
const socket = require("node:net").connect(Number(process.env.REDIS_PORT), process.env.REDIS_HOST);
if (url.hostname !== process.env.REDIS_HOST || url.port !== process.env.REDIS_PORT || decodeURIComponent(url.password) !== process.env.REDIS_PASSWORD) throw new Error("the variables differ");
socket.setEncoding("utf8");
const command = (...words) => "*" + words.length + "\r\n" + words.map((w) => "$" + Buffer.byteLength(w) + "\r\n" + w + "\r\n").join("");
socket.write(command("AUTH", url.username, decodeURIComponent(url.password)) + command(...process.argv[1].split(" ")) + command("QUIT"));
let all = "";
socket.on("data", (d) => all += d);
socket.on("end", () => {
  const [login, ...rest] = all.split("\r\n");
  if (login !== "+OK") { console.log(login); process.exit(1); }
  console.log(rest.slice(0, -2).filter((line) => !/^[$+]/.test(line)).join("\n"));
});
`

// greeted prints what a server says to the bytes of its argument.
const greeted = `
const [host, port, hello] = process.argv.slice(1);
const socket = require("node:net").connect(Number(port), host);
socket.write(Buffer.from(hello, "base64"));
socket.once("data", (d) => { console.log(d.toString("latin1")); socket.destroy(); });
`

var speakers = map[coderunner.Protocol]speaker{
	coderunner.PostgreSQL: {
		client: []string{"psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command"}, inside: true,
		write: "CREATE TABLE notes (text text); INSERT INTO notes VALUES ('kept')", read: "SELECT text FROM notes",
		before: "password authentication failed", refused: "password authentication failed", hello: "\x00\x00\x00\x08\x04\xd2\x16\x2f", line: "N", admin: "postgres",
		others: "SELECT rolpassword FROM pg_authid", forbidden: "permission denied", server: "postgres",
		size: "SHOW shared_buffers", fits: "64MB",
	},
	coderunner.MySQL: {
		client: []string{"sh", "-c", `MYSQL_PWD=$MYSQL_PASSWORD exec mariadb --no-defaults --protocol=tcp --host="$MYSQL_HOST" --port="$MYSQL_PORT" --user="$MYSQL_USER" --batch --skip-column-names "$MYSQL_DATABASE" --execute "$0"`}, inside: true,
		write: "CREATE TABLE notes (text text); INSERT INTO notes VALUES ('kept')", read: "SELECT text FROM notes",
		before: "not allowed to connect", refused: "Access denied", line: "MariaDB", admin: "root",
		others: "SELECT * FROM mysql.global_priv", forbidden: "command denied", server: "mariadbd",
		size: "SELECT @@innodb_buffer_pool_size >> 20", fits: "128",
	},
	coderunner.Redis: {
		client: []string{"node", "-e", redisClient}, write: "SET note kept", read: "GET note",
		before: "-WRONGPASS", refused: "-WRONGPASS", hello: "PING\r\n", line: "-NOAUTH", admin: "admin",
		others: "ACL LIST", forbidden: "NOPERM", server: "redis-server",
		size: "CONFIG GET maxmemory", fits: "201326592",
	},
}

// trial is a database appliance in a sandbox, and a sibling of the same project.
type trial struct {
	*testing.T
	provider *containerd.Provider
	def      appliance.Definition
	speaker  speaker
	database string // their names
	sibling  string
	host     string // of the database, for its sibling
}

var databaseLimits = sandbox.Limits{MemoryBytes: 384 << 20, PIDs: 128}

// within bounds one thing that is done to a sandbox.
func (r *trial) within() context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), recovery)
	r.Cleanup(cancel)
	return ctx
}

// run runs a command and answers what it printed, with how it ended.
func (r *trial) run(name string, env map[string]string, argv ...string) (printed string, code int) {
	r.Helper()
	var out strings.Builder
	exit, err := r.provider.Exec(r.within(), name, sandbox.Command{Argv: argv, Env: env, Stdout: &out, Stderr: &out})
	if err != nil {
		r.Fatalf("%.80q: %v", argv, err)
	}
	return out.String(), exit.Code
}

// say tells the server something as an app with that connection does.
func (r *trial) say(c coderunner.Connection, what string) (printed string, code int) {
	r.Helper()
	return r.sayWith(r.def.Database.Protocol.Environment(c), what)
}

// sayWith does it with the variables that an app has.
func (r *trial) sayWith(env map[string]string, what string) (printed string, code int) {
	r.Helper()
	name := r.sibling
	if r.speaker.inside {
		name = r.database
	}
	return r.run(name, env, append(slices.Clone(r.speaker.client), what)...)
}

func (r *trial) wantKept(when string, c coderunner.Connection) {
	r.Helper()
	if printed, code := r.say(c, r.speaker.read); code != 0 || printed != "kept\n" {
		r.Errorf("%s the database answers %q, with exit code %d", when, printed, code)
	}
}

func (r *trial) wantRefused(whom string, c coderunner.Connection, reason string) {
	r.Helper()
	if printed, code := r.say(c, r.speaker.read); code == 0 || !strings.Contains(printed, reason) {
		r.Errorf("%s gets %q, with exit code %d; want %q", whom, printed, code, reason)
	}
}

// start starts the server and waits until it says that it is ready.
func (r *trial) start() {
	r.Helper()
	if err := r.provider.Start(r.within(), r.database, databaseProcess, databaseCommand(r.def, databaseLimits)); err != nil {
		r.Fatal(err)
	}
	if err := awaitDatabase(r.within(), r.provider, r.def, r.database, r.def.Database.ReadyCommand); err != nil {
		r.Fatalf("%v\n%s", err, r.printed())
	}
}

// stop tells the server to end, which it does by itself.
func (r *trial) stop() {
	r.Helper()
	begin := time.Now()
	if err := r.provider.Stop(r.within(), r.database, databaseProcess, databaseGrace); err != nil {
		r.Fatal(err)
	}
	status, err := r.provider.Process(r.within(), r.database, databaseProcess)
	if err != nil || status.Running || status.Exit != (sandbox.Exit{}) {
		r.Errorf("told to stop, the server ended with %+v after %s (%v)\n%s", status.Exit, time.Since(begin), err, r.printed())
	}
}

// crash kills the server, which is told nothing, and waits until it has ended.
func (r *trial) crash() {
	r.Helper()
	const kill = `for p in /proc/[0-9]*; do if [ "$(cat "$p/comm" 2>/dev/null)" = "$0" ]; then kill -KILL "${p#/proc/}" 2>/dev/null; fi; done; true`
	if printed, code := r.run(r.database, nil, "sh", "-c", kill, r.speaker.server); code != 0 {
		r.Fatalf("killing the server ended with exit code %d: %s", code, printed)
	}
	status, err := r.provider.Wait(r.within(), r.database, databaseProcess)
	if err != nil || status.Exit.Code != 128+9 {
		r.Fatalf("killed, the server ended with %+v (%v)", status, err)
	}
}

func (r *trial) printed() string {
	printed, err := tail(r.within(), r.provider, r.database, databaseProcess, 16<<10)
	if err != nil {
		return err.Error()
	}
	return string(printed)
}

func (r *trial) init(c coderunner.Connection) {
	r.Helper()
	if printed, code := r.run(r.database, r.def.Database.Protocol.InitEnvironment(c), r.def.Database.InitCommand...); code != 0 {
		r.Fatalf("the init command ended with exit code %d: %s\n%s", code, printed, r.printed())
	}
}

// create makes the database's sandbox, with its data on the volume, and learns its address.
func (r *trial) create() {
	r.Helper()
	_, err := r.provider.Create(r.within(), sandbox.Spec{Name: r.database, Template: r.def.Template().TemplateRef, Network: "project", Limits: databaseLimits,
		Volumes: []sandbox.Mount{{Volume: "data", Path: r.def.Database.VolumePath}}})
	if err != nil {
		r.Fatal(err)
	}
	address, err := r.provider.Address(r.within(), r.database, r.def.Database.Port)
	if err != nil {
		r.Fatal(err)
	}
	if r.host, _, err = net.SplitHostPort(address.Sibling); err != nil {
		r.Fatal(err)
	}
}

// greeting is how the server looks from this machine, asked as the reconciler does.
func (r *trial) greeting() string {
	r.Helper()
	address, err := r.provider.Address(r.within(), r.database, r.def.Database.Port)
	if err != nil {
		r.Fatal(err)
	}
	conn, err := (&net.Dialer{}).DialContext(r.within(), "tcp", address.Proxy)
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTime)); err != nil {
		r.Fatal(err)
	}
	return greet(conn, r.def.Database.Protocol)
}

// openTrial prepares a trial of a database of the catalogue, without its sandbox.
func openTrial(t *testing.T, catalogue *appliance.Catalogue, def appliance.Definition) *trial {
	t.Helper()
	speaker, known := speakers[def.Database.Protocol]
	if !known {
		t.Fatalf("nobody here speaks %s", def.Database.Protocol)
	}
	node, err := catalogue.Get("nodejs-18")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := containerd.Open(t.Context(), containerd.Config{EngineDir: engineDir(), Instance: "base-" + strings.ToLower(rand.Text()[:10]), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { provider.Close() })
	t.Cleanup(func() { (&platform{provider: provider}).wipe(t) })
	for _, template := range []sandbox.Template{node.Template(), def.Template()} {
		if err := provider.BuildTemplate(t.Context(), template, t.Output()); err != nil {
			t.Fatal(err)
		}
	}
	r := &trial{T: t, provider: provider, def: def, speaker: speaker, database: "database", sibling: "app"}
	if _, err := provider.Create(r.within(), sandbox.Spec{Name: r.sibling, Template: node.Template().TemplateRef, Network: "project"}); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDatabaseAppliances holds every database of the catalogue to what a project expects of one.
func TestDatabaseAppliances(t *testing.T) {
	t.Parallel()
	catalogue, err := appliance.Load(appliances.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, def := range catalogue.All() {
		if def.Database == nil {
			continue
		}
		t.Run(def.Name, func(t *testing.T) {
			t.Parallel()
			openTrial(t, catalogue, def).isAsExpected()
		})
	}
}

func (r *trial) isAsExpected() {
	protocol := r.def.Database.Protocol
	r.create()
	r.start()
	c := protocol.Connection(protocol.DatabaseName(), `it's "no" \password $HOME é`, r.def.Database.Port)
	c.Host = r.host
	other := c
	other.Password = "second-password"

	r.wantRefused("whoever comes before there is a password", c, r.speaker.before)
	r.init(c)
	if printed, code := r.say(c, r.speaker.write); code != 0 {
		r.Fatalf("writing ended with exit code %d: %s", code, printed)
	}
	r.wantKept("after it was written", c)
	r.wantRefused("a wrong password", other, r.speaker.refused)
	admin := c
	admin.User = r.speaker.admin
	if printed, code := r.say(admin, r.speaker.read); code == 0 {
		r.Errorf("the administrator gets in over the network: %q", printed)
	}
	if printed, _ := r.run(r.sibling, nil, "node", "-e", greeted, c.Host, strconv.Itoa(c.Port), base64.StdEncoding.EncodeToString([]byte(r.speaker.hello))); !strings.Contains(printed, r.speaker.line) {
		r.Errorf("whoever shows no password is told %q, want %q", printed, r.speaker.line)
	}
	if printed, _ := r.say(c, r.speaker.others); !strings.Contains(printed, r.speaker.forbidden) {
		r.Errorf("the app may ask %q: %s", r.speaker.others, printed)
	}
	before := r.printed()
	for range 120 { // more often than a server may forgive
		if state := r.greeting(); state != coderunner.SeenRunning {
			r.Fatalf("its server is seen %s", state)
		}
	}
	r.wantKept("after it was asked often", c)
	if text := r.printed(); text != before {
		r.Errorf("to ask it writes into its log:\n%.400s", strings.TrimPrefix(text, before))
	}

	if printed, code := r.say(c, r.speaker.size); code != 0 || !strings.Contains(printed, r.speaker.fits) {
		r.Errorf("asked %s it says %q, want %s", r.speaker.size, printed, r.speaker.fits)
	}

	if c.User == c.Database { // whose names are ours to choose
		odd := c
		odd.User, odd.Database = `o'no "q\`, "we`ird_%\" 'é"
		r.init(odd)
		r.init(odd)
		if printed, code := r.say(odd, "SELECT 'odd'"); code != 0 || printed != "odd\n" {
			r.Errorf("with odd names it answers %q, with exit code %d", printed, code)
		}
		odd.Database = c.Database
		if printed, code := r.say(odd, r.speaker.read); code == 0 {
			r.Errorf("one user reads the database of another: %q", printed)
		}
	}

	// The password is set each time; all else stays.
	r.init(c)
	r.wantKept("after the same again", c)
	r.init(other)
	r.wantKept("with another password", other)
	r.wantRefused("the former password", c, r.speaker.refused)

	r.stop()
	r.start()
	r.wantKept("after a restart", other)
	r.crash()
	r.start()
	r.wantKept("after a crash", other)
	if err := r.provider.Destroy(r.within(), r.database); err != nil {
		r.Fatal(err)
	}
	r.create()
	r.start()
	other.Host = r.host
	r.wantKept("in a new sandbox", other)
	r.wantRefused("the former password", c, r.speaker.refused)
	r.init(other)
	r.wantKept("after the same again", other)
	for _, secret := range []string{c.Password, other.Password} {
		if text := r.printed(); strings.Contains(text, secret) {
			r.Errorf("the server's log has the password:\n%s", text)
		}
	}
	r.stop()
}
