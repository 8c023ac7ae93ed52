package edge

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

// TestSandboxesAreOnThisMachine: a connection that leaves it is not one to a sandbox.
func TestSandboxesAreOnThisMachine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"10.213.42.129", "10.213.42.131", true}, {"::ffff:10.213.42.129", "10.213.42.131", true}, {"127.0.0.1", "127.0.0.1", true}, {"fd00::1", "fd00::2", true},
		{"192.168.1.7", "10.213.42.131", false}, {"10.0.0.5", "10.213.42.131", false}, {"fd00::1", "fd00:1::2", false}, {"10.213.42.129", "fd00::1", false},
	} {
		if got := sameNetwork(netip.MustParseAddr(c.a), netip.MustParseAddr(c.b)); got != c.same {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{listener.Addr().String(), "localhost:" + port} { // by name, as of a provider in the cloud
		conn, err := dialSandbox(t.Context(), &net.Dialer{}, address)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	// From an address of ours that is not of its network: what a way out looks like.
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, a := range all {
		own, err := netip.ParsePrefix(a.String())
		if err != nil || !own.Addr().Is4() || own.Addr().IsLoopback() {
			continue
		}
		tried++
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: own.Addr().AsSlice()}}
		if _, err := dialSandbox(t.Context(), dialer, listener.Addr().String()); !errors.Is(err, errElsewhere) {
			t.Errorf("from %s: %v", own, err)
		}
	}
	if tried == 0 {
		t.Skip("this machine has no other address to come from")
	}
}
