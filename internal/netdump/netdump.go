// Package netdump reads lists from the kernel's network tables whole.
package netdump

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// tries is how often a list is asked for again. A table that still changes under
// the hundredth try changes without end.
const tries = 100

// Whole calls list until nothing changed the table while it was read. The kernel
// hands out a long list in parts, and says so when the parts may not fit together
// (NLM_F_DUMP_INTR): entries can be missing then.
func Whole[T any](list func() (T, error)) (T, error) {
	for range tries - 1 {
		if found, err := list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return found, err
		}
	}
	return list()
}

// Links lists the network devices of this namespace.
func Links() ([]netlink.Link, error) { return Whole(netlink.LinkList) }
