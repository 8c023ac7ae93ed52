package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// kept is a keeper of an edge that is a process, which ends with the test.
func kept(t *testing.T, w *world) *Keeper {
	t.Cleanup(func() {
		if err := Stop(context.Background(), w.dir); err != nil {
			t.Error(err)
		}
	})
	return &Keeper{Config: w.config()}
}

func ensure(t *testing.T, k *Keeper) Status {
	t.Helper()
	status, err := k.Ensure(t.Context())
	if err != nil {
		log, _ := os.ReadFile(logPath(k.DataDir))
		t.Fatalf("%v\n%s", err, log)
	}
	return status
}

func gone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the process %d is still there", pid)
		}
	}
}

// TestKeeperAdopts: the edge outlives whoever started it, and the next one goes on with it.
func TestKeeperAdopts(t *testing.T) {
	w := newWorld(t)
	first := ensure(t, kept(t, w))
	if first.PID == os.Getpid() || first.Address == "" {
		t.Fatalf("the edge is %+v", first)
	}
	w.route(t, app(t, "one", saying("one")))
	next := &Keeper{Config: w.config()}
	if second := ensure(t, next); second.PID != first.PID || second.Address != first.Address {
		t.Errorf("it was %+v and is %+v", first, second)
	}
	// Other settings need another process, at the same address.
	next.AppsDomain = "other.test"
	third := ensure(t, next)
	if third.PID == first.PID || third.Address != first.Address || third.AppsDomain != "other.test" {
		t.Errorf("with other settings it is %+v", third)
	}
	gone(t, first.PID)
	if _, body, _ := get(t, browser(t, third.Address), "http://one.apps.test/"); body != "one" {
		t.Errorf("it answers %q", body)
	}
	if err := Stop(t.Context(), w.dir); err != nil {
		t.Fatal(err)
	}
	gone(t, third.PID)
	entries, err := os.ReadDir(runDir(w.dir))
	if err != nil || len(entries) != 2 {
		t.Errorf("after Stop there are %v (%v)", entries, err)
	}
	if err := Stop(t.Context(), w.dir); err != nil {
		t.Errorf("stopping again: %v", err)
	}
}

// TestKeeperStartsItAgain: an edge that is killed is back at its address, with its routes.
func TestKeeperStartsItAgain(t *testing.T) {
	w := newWorld(t)
	k := kept(t, w)
	first := ensure(t, k)
	w.route(t, app(t, "one", saying("one")))
	ctx, cancel := context.WithCancel(t.Context())
	back, ended := make(chan struct{}, 10), make(chan struct{})
	go func() { k.Watch(ctx, func() { back <- struct{}{} }); close(ended) }()
	for range 2 {
		status, err := w.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(status.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		receive(t, back, "the edge's return")
	}
	if _, body, _ := get(t, browser(t, first.Address), "http://one.apps.test/"); body != "one" {
		t.Errorf("it answers %q", body)
	}
	w.route(t)
	cancel()
	receive(t, ended, "the end of the watch")
}

// TestKeeperEndsWhatHangs: an edge that is there and does not answer is replaced.
func TestKeeperEndsWhatHangs(t *testing.T) {
	w := newWorld(t)
	k := kept(t, w)
	first := ensure(t, k)
	if err := syscall.Kill(first.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // each of its threads has to notice
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", first.PID))
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("it does not stop: %s (%v)", stat, err)
		}
		if strings.Contains(string(stat), ") T ") {
			break
		}
	}
	second := ensure(t, k)
	if second.PID == first.PID || second.Address != first.Address {
		t.Errorf("it was %+v and is %+v", first, second)
	}
	gone(t, first.PID)
}

// TestKeeperSaysWhy an edge does not start.
func TestKeeperSaysWhy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, within := range []bool{false, true} {
		w := newWorld(t)
		k := kept(t, w)
		k.Within = within
		k.Listen = taken.Addr().String()
		if _, err := k.Ensure(t.Context()); coderunner.KindOf(err) != coderunner.Unavailable || !strings.Contains(coderunner.Sentence(err), "--listen") {
			t.Errorf("within %v: an address that is taken answers %v", within, err)
		}
	}
}

// TestKeeperWithin ends with Close.
func TestKeeperWithin(t *testing.T) {
	w := newWorld(t)
	k := &Keeper{Config: w.config(), Within: true}
	status := ensure(t, k)
	if status.PID != os.Getpid() {
		t.Errorf("it is %+v", status)
	}
	w.route(t, app(t, "one", saying("one")))
	k.Close()
	k.Close()
	if conn, err := net.Dial("tcp", status.Address); err == nil {
		conn.Close()
		t.Error("the address is still open")
	}
}
