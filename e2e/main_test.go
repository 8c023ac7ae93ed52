package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"

	"github.com/playwright-community/playwright-go"
)

var program = flag.String("program", "../bin/coderunner", "the program under test")

// browser is the Chromium of all tests; each has a context of its own in it.
var browser playwright.Browser

// shared is the server of all tests that do not need one for themselves; asked tells
// whether there was such a test.
var (
	shared = sync.OnceValues(func() (*server, error) { asked = true; return newServer() })
	asked  bool
)

func TestMain(m *testing.M) {
	flag.Parse()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // go test may be gone before us
	var ending sync.Mutex
	go func() {
		<-interrupted
		ending.Lock()
		servers.Range(func(s, _ any) bool {
			if err := s.(*server).down(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			return true
		})
		os.Exit(1)
	}()
	status := run(m)
	ending.Lock()
	os.Exit(status)
}

func run(m *testing.M) int {
	var end func() error
	var err error
	if browser, end, err = startBrowser(); err != nil {
		fmt.Fprintln(os.Stderr, "the browser does not start:", err)
		return 1
	}
	status := m.Run()
	if err := end(); err != nil {
		fmt.Fprintln(os.Stderr, "the browser does not end:", err)
		status = 1
	}
	if !asked {
		return status
	}
	s, err := shared()
	if err == nil {
		err = s.stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	return status
}

// sharedServer answers the server of all tests.
func sharedServer(t *testing.T) *server {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ownServer answers a server for this test alone.
func ownServer(t *testing.T, flags ...string) *server {
	t.Helper()
	s, err := newServer(flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}
