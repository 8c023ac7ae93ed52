package inside

import (
	"bufio"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMountsAreThoseOfTheProcess, also where its root is another than its namespace's.
func TestMountsAreThoseOfTheProcess(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root enters namespaces")
	}
	root := t.TempDir()
	child := exec.Command("sh", "-ec", `mount --bind / "$1"; mount -t tmpfs tmpfs "$1/mnt"; : >"$1/mnt/here"; exec chroot "$1" sh -c 'echo ready; exec sleep 1000'`, "sh", root)
	child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	mounts, err := MountsOf(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer mounts.Close()
	err = OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := mounts.Enter(); err != nil {
			return err
		}
		_, err := os.Stat("/mnt/here")
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/mnt/here"); err == nil {
		t.Error("it is seen from outside as well")
	}
}
