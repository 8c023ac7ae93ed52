package containerd

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/google/nftables"

	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

func TestParseSocket(t *testing.T) {
	t.Parallel()
	const rest = " 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 123 1 0 100 0 0 10 0"
	for line, want := range map[string]sandbox.Socket{
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode": {},
		"":                           {},
		"   0: 00000000:0BB8" + rest: {IP: "0.0.0.0", Port: 3000},
		"   1: 0100007F:1538" + rest: {IP: "127.0.0.1", Port: 5432},
		"   2: 0102A8C0:FFFF" + rest: {IP: "192.168.2.1", Port: 65535},
		"  13: 0B00007F:0001" + rest: {IP: "127.0.0.11", Port: 1},
		"   3: 0100007F:1538" + strings.Replace(rest, " 0A ", " 01 ", 1): {}, // established
		"   0: 00000000000000000000000000000000:0050" + rest:             {IP: "::", Port: 80},
		"   0: 00000000000000000000000001000000:0050" + rest:             {IP: "::1", Port: 80},
		"   0: 0000000000000000FFFF00000100007F:0050" + rest:             {IP: "127.0.0.1", Port: 80},
		"   0: B80D01200000000000000000EFBEADDE:0050" + rest:             {IP: "2001:db8::dead:beef", Port: 80},
		"   0: 0000:0050" + rest:                                         {},
		"   0: zz000000:0050" + rest:                                     {},
		"   0: 00000000:10000" + rest:                                    {},
	} {
		if got, listens := parseSocket(line); got != want || listens != (want != sandbox.Socket{}) {
			t.Errorf("parseSocket(%q) = %+v, %v, want %+v", line, got, listens, want)
		}
	}
}

// TestContainerID: names of the engine are valid, and no two sandboxes of any instances share one.
func TestContainerID(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	long := strings.Repeat("a", 32)
	names := []string{"z", "y-z", "b", "a-b", strings.Repeat("n", 63), strings.Repeat("n", 62) + "m", strings.Repeat("a-", 31) + "a", "b" + strings.Repeat("-a", 31)}
	for i := range 40 {
		names = append(names, strings.Repeat("c", 20+i)+"-"+strings.Repeat("d", 42-i))
	}
	for _, instance := range []string{"x", "x-y", "x-y-z", "a", "a-a", long, long[:31] + "b"} {
		p := &Provider{cfg: Config{Instance: instance}}
		for _, name := range names {
			id := p.containerID(name)
			if err := identifiers.Validate(id); err != nil {
				t.Errorf("%s of %s is %s: %v", name, instance, id, err)
			}
			if other, taken := seen[id]; taken {
				t.Errorf("%s is %s of %s and %s", id, name, instance, other)
			}
			seen[id] = name + " of " + instance
		}
	}
}

func TestInstanceNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "-a", "a-", "a--b", "A", "a.b", "a/b", "../a", strings.Repeat("a", 33)} {
		if _, err := Open(t.Context(), Config{Instance: name, StateDir: t.TempDir(), EngineDir: engineDir()}); err == nil {
			t.Errorf("an instance may be called %q", name)
		}
	}
}

// readRecords is what a reader gets of a directory, one string for each chunk.
func readRecords(t *testing.T, dir string) []string {
	t.Helper()
	var got []string
	r := &outputReader{dir: dir, yield: func(c sandbox.OutputChunk) error {
		got = append(got, c.Stream+":"+string(c.Data))
		return nil
	}}
	defer r.close()
	if err := r.drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestLogWriterAfterATornRecord: a writer that died within a record, as in a
// power cut, has lost that one and no other.
func TestLogWriterAfterATornRecord(t *testing.T) {
	t.Parallel()
	for _, torn := range []int{1, inside.RecordHeader - 1, inside.RecordHeader, inside.RecordHeader + 5} {
		dir := t.TempDir()
		write := func(kind byte, text string) *inside.Writer {
			w, err := inside.OpenOutput(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Record(kind, []byte(text)); err != nil {
				t.Fatal(err)
			}
			return w
		}
		write(inside.RecordOut, "first").Close()
		w := write(inside.RecordErr, "second")
		whole := w.Next()
		if err := w.Record(inside.RecordOut, []byte("torn record")); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if err := os.Truncate(inside.OutputFile(dir, 0), whole+int64(torn)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(readRecords(t, dir), "|"); got != "stdout:first|stderr:second" {
			t.Errorf("with %d bytes of a record there is %s", torn, got)
		}
		write(inside.RecordOut, "third").Close()
		if got := strings.Join(readRecords(t, dir), "|"); got != "stdout:first|stderr:second|stdout:third" {
			t.Errorf("after %d bytes of a record there is %s", torn, got)
		}
	}
}

// TestOutputReaderOverRotation: whoever reads slower than the process prints
// gets on with the oldest that is kept, at the beginning of a record.
func TestOutputReaderOverRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := inside.OpenOutput(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	data := bytes.Repeat([]byte("x"), inside.RecordMax)
	var last int64
	slow := &outputReader{dir: dir, yield: func(c sandbox.OutputChunk) error {
		if len(c.Data) != inside.RecordMax || c.Next <= last {
			t.Errorf("a chunk has %d bytes up to %d, after %d", len(c.Data), c.Next, last)
		}
		last = c.Next
		return nil
	}}
	defer slow.close()
	for range 3 {
		for range inside.OutputFiles * inside.OutputFileBytes / inside.RecordMax * 3 / 2 {
			if err := w.Record(inside.RecordOut, data); err != nil {
				t.Fatal(err)
			}
		}
		if err := slow.drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := w.Next(); last != want {
			t.Errorf("the reader is at %d, the writer at %d", last, want)
		}
	}
	starts, err := inside.OutputStarts(dir)
	if err != nil || len(starts) != inside.OutputFiles {
		t.Errorf("the files begin at %d, %v, want %d", starts, err, inside.OutputFiles)
	}
	for _, start := range starts {
		if info, err := os.Stat(inside.OutputFile(dir, start)); err != nil || info.Size() > inside.OutputFileBytes {
			t.Errorf("a file has %d bytes, %v", info.Size(), err)
		}
	}
}

// firewallState is how many rules each chain of ours has, and the bridges that are let through.
func firewallState(t *testing.T) (rules map[string]int, bridges map[string]bool) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		t.Fatal(err)
	}
	rules, bridges = map[string]int{}, map[string]bool{}
	for _, chain := range chains {
		if chain.Table.Name == firewallTable {
			list, err := c.GetRules(chain.Table, chain)
			if err != nil {
				t.Fatal(err)
			}
			rules[chain.Name] = len(list)
		}
	}
	set, err := c.GetSetByName(firewall(), siblingsSet)
	if err != nil {
		t.Fatal(err)
	}
	elements, err := c.GetSetElements(set)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range elements {
		bridges[string(bytes.TrimRight(e.Key[:16], "\x00"))] = true
	}
	return rules, bridges
}

func TestFirewallTwice(t *testing.T) {
	t.Parallel()
	bridge := (&Provider{cfg: newConfig(t)}).linkName(bridgePrefix, "firewall")
	unlock, err := networkLock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock() // others change the same table
	var first map[string]int
	for i := range 3 {
		if err := ensureFirewall(bridge); err != nil {
			t.Fatal(err)
		}
		rules, bridges := firewallState(t)
		if !bridges[bridge] {
			t.Errorf("after ensuring it %d times the bridge is not in the set", i+1)
		}
		if first == nil {
			first = rules
		}
		for _, chain := range []string{"input", "forward", "postrouting"} {
			if name := chain + "-" + firewallVersion; rules[name] == 0 || rules[name] != first[name] || len(rules) != 3 {
				t.Errorf("after ensuring it %d times the chains have %v rules, at first %v", i+1, rules, first)
			}
		}
	}
	for range 2 {
		if err := forgetFirewall(bridge); err != nil {
			t.Fatal(err)
		}
		if _, bridges := firewallState(t); bridges[bridge] {
			t.Error("a forgotten bridge is still in the set")
		}
	}
}

// TestCacheIsInNobodysWay: what lies beside the templates is reached by other accounts.
func TestCacheIsInNobodysWay(t *testing.T) {
	t.Parallel()
	parent := filepath.Join(t.TempDir(), "cache")
	dir := filepath.Join(parent, "templates")
	for range 2 {
		if err := makeCache(dir); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]fs.FileMode{parent: 0o711, dir: 0o700} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s is %v, %v; want %o", path, info.Mode(), err, want)
			}
		}
	}
}
