package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The index has an address of its own, since sandboxes reach no service of their machine. It is of
// the block that is set aside for tests (RFC 2544).
const (
	indexHost   = "198.18.77.2"
	machineHost = "198.18.77.1"
	indexLink   = "cr-index"
)

// index serves wheels as PEP 503 says, in a network namespace that lives as long as it does.
type index struct {
	address string // "http://198.18.77.2:40123/simple/"
	server  *http.Server
	link    netlink.Link
}

func serveIndex(wheels []wheel) (*index, error) {
	x := &index{server: &http.Server{Handler: indexHandler(wheels), ReadHeaderTimeout: 10 * time.Second}}
	listener, err := x.listen()
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	x.address = "http://" + listener.Addr().String() + "/simple/"
	go func() { _ = x.server.Serve(listener) }() // it ends with Close
	return x, nil
}

// Close ends the index with its address.
func (x *index) Close() error {
	err := x.server.Close()
	if x.link != nil {
		err = errors.Join(err, netlink.LinkDel(x.link))
	}
	return err
}

// listen makes the namespace, links it to the machine and listens in it.
func (x *index) listen() (net.Listener, error) {
	type inside struct {
		listener net.Listener
		err      error
	}
	made, linked, listening := make(chan int), make(chan bool), make(chan inside)
	go func() {
		// The thread changes its namespace and is thrown away with the goroutine.
		runtime.LockOSThread()
		fd, err := newNamespace()
		made <- fd
		if !<-linked || err != nil {
			listening <- inside{err: err}
			return
		}
		defer unix.Close(fd)
		listener, err := listenInside()
		listening <- inside{listener, err}
	}()
	fd := <-made
	var err error
	if fd >= 0 {
		err = x.linkTo(fd)
	}
	linked <- fd >= 0 && err == nil
	got := <-listening
	return got.listener, errors.Join(err, got.err)
}

// newNamespace answers the descriptor of one that this thread is now in, or -1.
func newNamespace() (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return -1, fmt.Errorf("make a network namespace: %w", err)
	}
	return unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// linkTo makes the machine's end of the link to the namespace.
func (x *index) linkTo(namespace int) error {
	if old, err := netlink.LinkByName(indexLink); err == nil {
		return fmt.Errorf("there is a network link %s already: another run of the examples has it, or one that was killed. End that, or remove it with: ip link delete %s", old.Attrs().Name, indexLink)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: indexLink}, PeerName: "eth0", PeerNamespace: netlink.NsFd(namespace)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the link %s: %w", indexLink, err)
	}
	x.link = veth
	return raise(indexLink, machineHost)
}

func listenInside() (net.Listener, error) {
	if err := raise("eth0", indexHost); err != nil {
		return nil, err
	}
	return net.Listen("tcp4", net.JoinHostPort(indexHost, "0"))
}

// raise gives a link its address and sets it up.
func raise(name, host string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(host), Mask: net.CIDRMask(30, 32)}}
	return errors.Join(netlink.AddrAdd(link, address), netlink.LinkSetUp(link))
}

// indexHandler answers /simple/<project>/ and /files/<wheel>.
func indexHandler(wheels []wheel) http.Handler {
	mux := http.NewServeMux()
	for _, w := range wheels {
		page := fmt.Sprintf("<!doctype html><a href=\"/files/%s#sha256=%x\">%s</a>\n", url.PathEscape(w.file), sha256.Sum256(w.content), w.file)
		mux.HandleFunc("GET /simple/"+w.project+"/{$}", func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = out.Write([]byte(page))
		})
		mux.HandleFunc("GET /files/"+w.file, func(out http.ResponseWriter, r *http.Request) {
			http.ServeContent(out, r, w.file, time.Time{}, bytes.NewReader(w.content))
		})
	}
	return mux
}

// indexVariables tell pip where packages come from.
func indexVariables(address string) map[string]string {
	variables := map[string]string{"PIP_INDEX_URL": address}
	if u, err := url.Parse(address); err == nil && u.Scheme == "http" {
		variables["PIP_TRUSTED_HOST"] = u.Hostname()
	}
	return variables
}
