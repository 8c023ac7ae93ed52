package containerd

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// TestVisit: whoever visits a sandbox sees its files with its user's rights, and
// nobody else of this program notices.
func TestVisit(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	makeBox(t, p, sandbox.Spec{Name: "box", Template: ready(t, p, templateOf(t, "postgres-15"))})
	_, task, err := p.running(within(t), "box")
	if err != nil {
		t.Fatal(err)
	}
	sh(t, p, "box", `echo inside > /tmp/file; mkfifo /tmp/go`)
	secret := t.TempDir() + "/secret"
	if err := os.WriteFile(secret, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	id, user := p.containerID("box"), account{1234, 4321}
	for range 20 {
		err := visit(id, task.Pid(), user, func() error {
			if text, err := os.ReadFile("/tmp/file"); err != nil || string(text) != "inside\n" {
				return fmt.Errorf("the file has %q, %w", text, err)
			}
			for _, path := range []string{secret, "/etc/shadow"} {
				if _, err := os.ReadFile(path); err == nil {
					return fmt.Errorf("it reads %s", path)
				}
			}
			for what, err := range map[string]error{
				"writes":      os.WriteFile("/etc/new", nil, 0o644),
				"makes nodes": unix.Mknod("/tmp/node", unix.S_IFBLK|0o666, 8<<8),
				"gives away":  os.Chown("/tmp/file", 0, 0),
				"changes":     os.Chmod("/tmp/file", 0o777),
			} {
				if err == nil {
					return fmt.Errorf("it %s as root", what)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		var stat unix.Stat_t
		if err := unix.Stat(secret, &stat); err != nil {
			t.Errorf("afterwards this program does not see its own files: %v", err)
		}
	}
	for range 3 * runtime.GOMAXPROCS(0) {
		done := make(chan string)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			text, _ := os.ReadFile("/proc/thread-self/status")
			done <- string(text)
		}()
		if status := <-done; !strings.Contains(status, "Uid:\t0\t0\t0\t0\n") {
			t.Errorf("a thread is left with the visitor's rights:\n%s", status)
		}
	}
	if err := visit(id, uint32(os.Getpid()), user, func() error { t.Error("it visits this program"); return nil }); err == nil {
		t.Error("a process that is not of the sandbox is taken")
	}
	if err := visit(p.containerID("other"), task.Pid(), user, func() error { t.Error("it visits another sandbox"); return nil }); err == nil {
		t.Error("a process of another sandbox is taken")
	}
}

// TestUploadOfDestroyed: an upload whose source does not come ends with its sandbox.
func TestUploadOfDestroyed(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	makeBox(t, p, sandbox.Spec{Name: "box", Template: ready(t, p, templateOf(t, "postgres-15"))})
	reading, writing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	defer writing.Close()
	done := make(chan error, 1)
	go func() { done <- p.Upload(within(t), "box", "/tmp/new", reading) }()
	until(t, "the upload has begun", func() bool { return sh(t, p, "box", `ls -d /tmp/new 2>/dev/null || true`) == "/tmp/new\n" })
	if err := p.Destroy(within(t), "box"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), notFound("box").Error()) {
			t.Errorf("Upload to what was destroyed: %v", err)
		}
	case <-within(t).Done():
		t.Error("the upload does not end")
	}
	if err := p.Upload(within(t), "box", "/tmp", bytes.NewReader(nil)); err == nil {
		t.Error("an upload to nothing succeeds")
	}
}
