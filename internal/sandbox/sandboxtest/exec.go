package sandboxtest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

var execTests = map[string]func(*testing.T, *suite){
	"ExecStreams":          testExecStreams,
	"ExecOutputIsComplete": testExecOutputIsComplete,
	"ExecExitCodes":        testExecExitCodes,
	"ExecArguments":        testExecArguments,
	"ExecEnvironment":      testExecEnvironment,
	"ExecDirectory":        testExecDirectory,
	"ExecUsers":            testExecUsers,
	"ExecInput":            testExecInput,
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func testExecStreams(t *testing.T, s *suite) {
	b := s.box(t)
	first := await("first\n")
	input, feed := io.Pipe()
	var problems strings.Builder
	cmd := shell(`echo first; read -r word; echo "then $word"; echo trouble >&2; exit 3`)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, first, &problems
	done := b.begin(within(t), cmd)
	first.wait(t) // the command has not ended: it waits for us
	if _, err := io.WriteString(feed, "second\n"); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	got := receive(t, done, "the command's end")
	if got.err != nil || got.exit != (sandbox.Exit{Code: 3}) {
		t.Errorf("Exec = %+v, %v, want exit code 3", got.exit, got.err)
	}
	if out := first.all.String(); out != "first\nthen second\n" {
		t.Errorf("stdout is %q", out)
	}
	if problems.String() != "trouble\n" {
		t.Errorf("stderr is %q", problems.String())
	}
}

func testExecOutputIsComplete(t *testing.T, s *suite) {
	const script = `for (1..200000) { print "out $_\n"; print STDERR "err $_\n" if $_ % 4 == 0 } print "no newline at the end"`
	var wantOut, wantErr strings.Builder
	for i := 1; i <= 200000; i++ {
		line := strconv.Itoa(i) + "\n"
		wantOut.WriteString("out " + line)
		if i%4 == 0 {
			wantErr.WriteString("err " + line)
		}
	}
	wantOut.WriteString("no newline at the end")
	r := s.box(t).run(t, sandbox.Command{Argv: []string{"perl", "-e", script}})
	if r.exit.Code != 0 || r.stdout != wantOut.String() || r.stderr != wantErr.String() {
		t.Errorf("got %d bytes of stdout and %d of stderr with %+v, want %d and %d as printed",
			len(r.stdout), len(r.stderr), r.exit, wantOut.Len(), wantErr.Len())
	}
}

func testExecExitCodes(t *testing.T, s *suite) {
	b := s.box(t)
	b.sh(t, `echo echo hello > /tmp/not-a-program`)
	for _, c := range []struct {
		argv []string
		want sandbox.Exit
	}{
		{[]string{"true"}, sandbox.Exit{}},
		{[]string{"sh", "-c", "exit 1"}, sandbox.Exit{Code: 1}},
		{[]string{"sh", "-c", "exit 255"}, sandbox.Exit{Code: 255}},
		{[]string{"no-such-program"}, sandbox.Exit{Code: 127}},
		{[]string{"/no/such/program", "with", "arguments"}, sandbox.Exit{Code: 127}},
		{[]string{"/tmp/not-a-program"}, sandbox.Exit{Code: 126}},
		{[]string{"sh", "-c", "kill -TERM $$"}, sandbox.Exit{Code: 143, Signal: 15}},
		{[]string{"sh", "-c", "kill -KILL $$"}, sandbox.Exit{Code: 137, Signal: 9}},
		{[]string{"perl", "-e", "kill SEGV => $$; sleep"}, sandbox.Exit{Code: 139, Signal: 11}},
	} {
		r := b.run(t, sandbox.Command{Argv: c.argv})
		if r.exit != c.want {
			t.Errorf("%q ends with %+v, want %+v", c.argv, r.exit, c.want)
		}
		if c.want.Code == 127 && r.stderr == "" {
			t.Errorf("%q says nothing about why", c.argv)
		}
	}
}

func testExecArguments(t *testing.T, s *suite) {
	args := []string{"", " ", "two words", `"'\`, "$HOME `id` $(id)", "*", "-n", "--", "new\nline", "ünïcode", ";exit 1", "-c"}
	got := s.box(t).must(t, sandbox.Command{Argv: append([]string{"printf", `[%s]`}, args...)})
	if want := "[" + strings.Join(args, "][") + "]"; got != want {
		t.Errorf("the arguments arrive as %q, want %q", got, want)
	}
}

func testExecEnvironment(t *testing.T, s *suite) {
	b := s.make(t, sandbox.Spec{Env: map[string]string{"GREETING": "hello", "COLOUR": "red", "LANG": "C"}})
	cmd := sandbox.Command{Argv: []string{"env", "--null"}, Env: map[string]string{
		"COLOUR": "blue", "EMPTY": "", "ODD": "a=b 'c' \"d\" $(id) ü\nsecond line",
		// What shells make something of must arrive as any other.
		"PS4": "$(id)", "ENV": "/etc/passwd", "BASH_ENV": "/etc/passwd", "_lower_9": "x",
	}}
	got := map[string]string{}
	for pair := range strings.SplitSeq(strings.TrimSuffix(b.must(t, cmd), "\x00"), "\x00") {
		key, value, _ := strings.Cut(pair, "=")
		got[key] = value
	}
	want := map[string]string{"GREETING": "hello", "LANG": "C", "HOME": s.template.User.Home, "USER": s.template.User.Name, "PATH": s.template.Env["PATH"]}
	for key, value := range cmd.Env {
		want[key] = value
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %q, want %q", key, got[key], value)
		}
	}
	for _, name := range []string{"", "a=b", "nul\x00", "a.b", "a-b", "9x", "with space", "IFS"} {
		_, err := b.provider.Exec(within(t), b.name, sandbox.Command{Argv: []string{"true"}, Env: map[string]string{name: "x"}})
		wantKind(t, err, coderunner.Invalid, "a variable named "+strconv.Quote(name))
	}
}

func testExecDirectory(t *testing.T, s *suite) {
	b := s.box(t)
	if got := b.sh(t, "pwd"); got != s.template.WorkDir+"\n" {
		t.Errorf("the directory is %q, want %q", got, s.template.WorkDir)
	}
	b.sh(t, `mkdir "a dir"`)
	if got := b.must(t, sandbox.Command{Argv: []string{"pwd"}, Dir: s.template.WorkDir + "/a dir"}); got != s.template.WorkDir+"/a dir\n" {
		t.Errorf("the directory is %q", got)
	}
	_, err := b.provider.Exec(within(t), b.name, sandbox.Command{Argv: []string{"pwd"}, Dir: "/no/such/directory"})
	wantKind(t, err, coderunner.Invalid, "a directory that does not exist")
}

func testExecUsers(t *testing.T, s *suite) {
	b := s.box(t)
	const identity = `echo "$(id -u):$(id -g):$(id -G)"; grep -E '^(CapEff|CapPrm|CapInh|CapAmb|NoNewPrivs)' /proc/self/status | tr -d '\t\n'`
	id := decimal(s.template.User.GID)
	want := decimal(s.template.User.UID) + ":" + id + ":" + id +
		"\nCapInh:0000000000000000CapPrm:0000000000000000CapEff:0000000000000000CapAmb:0000000000000000NoNewPrivs:1"
	if got := b.sh(t, identity); got != want {
		t.Errorf("the default user is %q, want %q", got, want)
	}
	named := shell(identity)
	named.User = s.template.User.Name
	if got := b.must(t, named); got != want {
		t.Errorf("the default user by name is %q, want %q", got, want)
	}
	root := shell(`id -u; echo "$HOME"; test -w /etc/passwd && echo writes; grep CapEff /proc/self/status | cut -f2`)
	root.User = "root"
	lines := strings.Split(b.must(t, root), "\n")
	if len(lines) != 5 || lines[0] != "0" || lines[1] != "/root" || lines[2] != "writes" {
		t.Errorf("root is %q", lines)
	}
	// CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SETFCAP, AUDIT_WRITE, SYS_CHROOT, MKNOD and
	// no other: what container engines give at most, less raw sockets.
	const most = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<31 | 1<<29 | 1<<18 | 1<<27
	if caps, err := strconv.ParseUint(lines[3], 16, 64); err != nil || caps&^most != 0 {
		t.Errorf("root has the capabilities %s", lines[3])
	}
	_, err := b.provider.Exec(within(t), b.name, sandbox.Command{Argv: []string{"id"}, User: "nobody-we-know"})
	wantKind(t, err, coderunner.Invalid, "a user that does not exist")
}

func testExecInput(t *testing.T, s *suite) {
	b := s.box(t)
	data := make([]byte, 3<<20)
	rand.Read(data)
	sum := sha256.Sum256(data)
	if got := b.must(t, sandbox.Command{Argv: []string{"sha256sum"}, Stdin: bytes.NewReader(data)}); !strings.HasPrefix(got, hex.EncodeToString(sum[:])) {
		t.Errorf("the input's sum is %s, want %x", got, sum)
	}
	if got := b.must(t, sandbox.Command{Argv: []string{"wc", "-c"}}); got != "0\n" {
		t.Errorf("without input there are %s bytes of it", got)
	}
	// A command need not read its input, nor wait for the end of it.
	b.must(t, sandbox.Command{Argv: []string{"true"}, Stdin: bytes.NewReader(data)})
	endless, feed := io.Pipe()
	defer feed.Close()
	b.must(t, sandbox.Command{Argv: []string{"true"}, Stdin: endless})
}
