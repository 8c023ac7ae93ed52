// Package testupstream is what packages come from in tests: a registry for npm, an index for
// pip, and a proxy, which count what they are asked for. They are in a network of their own
// beside this machine, as the internet is: sandboxes reach them, unlike this machine itself.
package testupstream

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

var networks atomic.Uint32

// listen listens in a new network, at an address that this machine and its sandboxes reach.
func listen(t testing.TB) net.Listener {
	t.Helper()
	number := networks.Add(1)
	name := fmt.Sprintf("upstream-%d-%d", os.Getpid(), number)
	base := netip.AddrFrom4([4]byte{198, 19, byte(os.Getpid()), byte(number * 4)}).AsSlice()
	here, there := net.IPv4(base[0], base[1], base[2], base[3]+1), net.IPv4(base[0], base[1], base[2], base[3]+2)
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("cru-%x-%d", os.Getpid(), number)}, PeerName: "eth0"}
	type result struct {
		listener net.Listener
		err      error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which is in the network, ends with the goroutine
		listener, err := enter(name, link, here, there)
		made <- result{listener, err}
	}()
	r := <-made
	if r.err != nil {
		t.Fatalf("make a network for the test: %v", r.err)
	}
	t.Cleanup(func() {
		r.listener.Close()
		if err := netlink.LinkDel(link); err != nil {
			t.Error(err)
		}
		if err := netns.DeleteNamed(name); err != nil {
			t.Error(err)
		}
	})
	return r.listener
}

// enter makes the network, moves the calling thread into it and listens there.
func enter(name string, link *netlink.Veth, here, there net.IP) (net.Listener, error) {
	outside, err := netlink.NewHandle() // of the network that the thread comes from
	if err != nil {
		return nil, err
	}
	defer outside.Close()
	space, err := netns.NewNamed(name)
	if err != nil {
		return nil, err
	}
	defer space.Close()
	link.PeerNamespace = netlink.NsFd(space)
	if err := outside.LinkAdd(link); err != nil {
		return nil, err
	}
	inside, err := netlink.NewHandle()
	if err != nil {
		return nil, err
	}
	defer inside.Close()
	if err := bring(outside, link.Name, here); err != nil {
		return nil, err
	}
	if err := bring(inside, "eth0", there); err != nil {
		return nil, err
	}
	return net.Listen("tcp4", there.String()+":0")
}

// bring gives a device its address and sets it up.
func bring(handle *netlink.Handle, device string, address net.IP) error {
	found, err := handle.LinkByName(device)
	if err != nil {
		return err
	}
	if err := handle.AddrAdd(found, &netlink.Addr{IPNet: &net.IPNet{IP: address, Mask: net.CIDRMask(30, 32)}}); err != nil {
		return err
	}
	return handle.LinkSetUp(found)
}
