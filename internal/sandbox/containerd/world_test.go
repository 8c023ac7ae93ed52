package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// world is a network namespace that stands for the internet: its link to this
// machine carries one address of the world and one link-local address, as the
// metadata services of clouds have.
type world struct {
	host, public, metadata netip.Addr
	namespace              string
}

func newWorld(t *testing.T) world {
	t.Helper()
	seed := byte(os.Getpid())
	w := world{host: netip.AddrFrom4([4]byte{198, 18, seed, 1}), public: netip.AddrFrom4([4]byte{198, 18, seed, 2}),
		metadata: netip.AddrFrom4([4]byte{169, 254, 77, seed}), namespace: netnsPath(newConfig(t).Instance + "-world")}
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "crt-" + fmt.Sprintf("%x", os.Getpid())}, PeerName: "eth0"}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(makeNetns(w.namespace, func(inside *netlink.Handle, fd int) error {
		link.PeerNamespace = netlink.NsFd(fd)
		if err := netlink.LinkAdd(link); err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(w.host, 24))}); err != nil {
			return err
		}
		return configureInside(inside, netip.PrefixFrom(w.public, 24), w.host, 1500, func() error {
			eth0, err := inside.LinkByName("eth0")
			if err != nil {
				return err
			}
			if err := inside.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(w.metadata, 32))}); err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		})
	}))
	t.Cleanup(func() {
		for _, err := range []error{netlink.LinkDel(link), removeNetns(w.namespace)} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	must(netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(netip.PrefixFrom(w.metadata, 32)), Gw: w.public.AsSlice()}))
	return w
}

// inside does something on a thread in the world.
func (w world) inside(t *testing.T, do func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		handle, err := netns.GetFromPath(w.namespace)
		if err == nil {
			defer handle.Close()
			err = netns.Set(handle)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestWorld: a sandbox reaches the world under this machine's address, but no
// link-local address, and the world does not reach it.
func TestWorld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := open(t, newConfig(t))
	makeBox(t, p, sandbox.Spec{Name: "box", Template: ready(t, p, templateOf(t, "postgres-15"))})
	var listener net.Listener
	w.inside(t, func() (err error) {
		listener, err = net.Listen("tcp4", ":0")
		return err
	})
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			fmt.Fprintln(conn, host)
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	connect := func(to netip.Addr) string {
		return sh(t, p, "box", `timeout 1 bash -c 'exec 3<>"/dev/tcp/$0/$1" && head -n 1 <&3' "$1" "$2" 2>/dev/null || echo unreachable`, to.String(), port)
	}
	if got := connect(w.public); got != w.host.String()+"\n" {
		t.Errorf("the world is %q for the sandbox, want it to see %s", got, w.host)
	}
	if conn, err := net.DialTimeout("tcp", net.JoinHostPort(w.metadata.String(), port), patience); err != nil {
		t.Errorf("this machine itself does not reach the metadata: %v", err)
	} else {
		conn.Close()
	}
	if got := connect(w.metadata); got != "unreachable\n" {
		t.Errorf("the sandbox reaches a link-local address: %q", got)
	}

	if err := p.Start(within(t), "box", "web", sandbox.Command{Argv: []string{"perl", "-e", `
		use Socket; $| = 1;
		socket(my $s, AF_INET, SOCK_STREAM, 0); bind($s, pack_sockaddr_in(3000, INADDR_ANY)) or die; listen($s, 9); print "listening\n"; sleep`}}); err != nil {
		t.Fatal(err)
	}
	printed(t, p, "box", "web", "listening\n")
	address, err := p.Address(within(t), "box", 3000)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", address.Proxy, patience)
	if err != nil {
		t.Fatalf("this machine does not reach the sandbox: %v", err)
	}
	conn.Close()
	w.inside(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := dialHere(ctx, address.Proxy); err == nil {
			t.Error("the world reaches a sandbox")
		} else if !strings.Contains(err.Error(), "timed out") && !strings.Contains(err.Error(), "unreachable") {
			t.Errorf("the world's attempt ended otherwise than by silence: %v", err)
		}
		return nil
	})
}

// dialHere connects on the calling thread, and so in its namespace.
func dialHere(ctx context.Context, address string) error {
	to := netip.MustParseAddrPort(address)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	if err != unix.EINPROGRESS {
		return err
	}
	deadline, _ := ctx.Deadline()
	events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(events, int(time.Until(deadline).Milliseconds()))
	for errors.Is(err, unix.EINTR) { // the runtime of Go has signals of its own
		n, err = unix.Poll(events, max(0, int(time.Until(deadline).Milliseconds())))
	}
	if err == nil && n == 0 {
		return unix.ETIMEDOUT
	}
	if err != nil {
		return err
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		return unix.Errno(code)
	}
	return err
}
