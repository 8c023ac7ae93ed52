package netdump

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestWholeAsksAgain(t *testing.T) {
	calls := 0
	got, err := Whole(func() ([]string, error) {
		calls++
		if calls < 3 {
			return []string{"half"}, fmt.Errorf("list: %w", netlink.ErrDumpInterrupted)
		}
		return []string{"a", "b"}, nil
	})
	if err != nil || len(got) != 2 || calls != 3 {
		t.Fatalf("got %v, %v after %d calls, want the whole list after 3", got, err, calls)
	}
}

func TestWholeGivesUp(t *testing.T) {
	calls := 0
	_, err := Whole(func() (int, error) { calls++; return 0, netlink.ErrDumpInterrupted })
	if !errors.Is(err, netlink.ErrDumpInterrupted) || calls != tries {
		t.Fatalf("got %v after %d calls, want the kernel's own error after %d", err, calls, tries)
	}
}

func TestWholeReturnsOtherErrorsAtOnce(t *testing.T) {
	calls := 0
	_, err := Whole(func() (int, error) { calls++; return 0, os.ErrPermission })
	if !errors.Is(err, os.ErrPermission) || calls != 1 {
		t.Fatalf("got %v after %d calls, want the error after the first", err, calls)
	}
}
