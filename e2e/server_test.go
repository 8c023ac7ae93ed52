package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTime is how long the program may take until it serves.
const startTime = time.Minute

// server is the program, running on a data directory of its own.
type server struct {
	url, port string
	dataDir   string
	instance  string // its name at the engine
	flags     []string
	command   *exec.Cmd
	ended     chan error
	log       *tail
}

// servers are those that have not been stopped yet.
var servers sync.Map

// newServer starts the program with a fresh data directory.
func newServer(flags ...string) (*server, error) {
	dir, err := os.MkdirTemp("/tmp", "coderunner-e2e-")
	if err != nil {
		return nil, err
	}
	s := &server{dataDir: dir, flags: flags, log: &tail{}}
	servers.Store(s, nil)
	if err := os.Chmod(dir, 0o711); err != nil { // the database's account passes
		return nil, err
	}
	if err := s.serve("127.0.0.1:0"); err != nil {
		_ = s.stop() // there is a better reason to tell
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	name, err := os.ReadFile(filepath.Join(dir, "instance"))
	s.instance = strings.TrimSpace(string(name))
	return s, err
}

// serve starts the process and waits until it says where it serves.
func (s *server) serve(address string) error {
	s.command = exec.Command(*program, append([]string{"serve", "--listen", address, "--data-dir", s.dataDir}, s.flags...)...)
	s.command.Env = environment()
	s.command.Stderr = s.log
	// It ends with the test, however that ends.
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	s.command.Stdout = in
	s.ended = make(chan error, 1)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the death that is told is this thread's
		err := s.command.Start()
		started <- err
		if err == nil {
			s.ended <- s.command.Wait()
		}
	}()
	err = <-started
	in.Close()
	if err != nil {
		return fmt.Errorf("%w; make build makes the program", err)
	}
	ready := make(chan string)
	go func() {
		defer close(ready)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, address, found := strings.Cut(lines.Text(), "is ready: "); found {
				ready <- strings.TrimSpace(address)
			}
		}
	}()
	select {
	case s.url = <-ready:
	case <-time.After(startTime):
	}
	if s.url == "" {
		return fmt.Errorf("the program does not serve:\n%s", s.log)
	}
	s.port = s.url[strings.LastIndex(s.url, ":")+1:]
	return nil
}

// kill ends the process without a word.
func (s *server) kill() error {
	if err := s.command.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-s.ended
	return nil
}

// down runs the program's own "down".
func (s *server) down() error {
	command := exec.Command(*program, "down", "--data-dir", s.dataDir)
	command.Env = environment()
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("down: %w: %s", err, out)
	}
	return nil
}

// stop ends the program and looks whether it left anything.
func (s *server) stop() error {
	defer servers.Delete(s)
	if err := s.down(); err != nil {
		return err
	}
	if err := <-s.ended; err != nil && !strings.Contains(err.Error(), "signal: killed") {
		return fmt.Errorf("the program ended with %w:\n%s", err, s.log)
	}
	if s.instance != "" {
		left, err := leftBehind(s)
		if err != nil {
			return err
		}
		if len(left) > 0 {
			return fmt.Errorf("after down there is still:\n%s", strings.Join(left, "\n"))
		}
	}
	if len(s.log.errors) > 0 {
		return fmt.Errorf("the program logged errors:\n%s", strings.Join(s.log.errors, ""))
	}
	return os.RemoveAll(s.dataDir)
}

func environment() []string {
	return append(os.Environ(), "CODERUNNER_ENGINE_DIR="+engineDir())
}

// engineDir is that of this machine's tests, whose templates are built already.
func engineDir() string {
	if dir := os.Getenv("CODERUNNER_ENGINE_DIR"); dir != "" {
		return dir
	}
	return "/var/cache/coderunner/engine"
}

// destroyAll ends every project of an account, so that the machine is as it was.
func (s *server) destroyAll(t *testing.T, email, password string) {
	var login struct {
		Token string `json:"access_token"`
	}
	s.call(t, http.MethodPost, "/auth/login", "", map[string]string{"email": email, "password": password}, &login)
	type run struct{ ID, State string }
	var list struct {
		Items []struct {
			ID, Name string
			Run      *run
		}
	}
	s.call(t, http.MethodGet, "/projects", login.Token, nil, &list)
	for _, project := range list.Items {
		var started run
		destroy := "/projects/" + project.ID + "?confirm=" + url.QueryEscape(project.Name)
		if status := s.call(t, http.MethodDelete, destroy, login.Token, nil, &started); status == http.StatusConflict && project.Run != nil {
			s.call(t, http.MethodPost, "/runs/"+project.Run.ID+"/cancel", login.Token, nil, nil)
			s.follow(t, project.Run.ID, login.Token)
			s.call(t, http.MethodDelete, destroy, login.Token, nil, &started)
		}
		if started.ID == "" {
			t.Errorf("the project %q cannot be destroyed", project.Name)
			continue
		}
		if state := s.follow(t, started.ID, login.Token); !strings.Contains(state, "SUCCEEDED") {
			t.Errorf("the project %q was not destroyed: %s", project.Name, state)
		}
	}
}

// follow waits for a run's end and answers what its stream said last.
func (s *server) follow(t *testing.T, run, token string) (last string) {
	res := s.request(t, http.MethodGet, "/runs/"+run+"/events", token, nil)
	if res == nil {
		return "no answer"
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if text, found := strings.CutPrefix(lines.Text(), "data: "); found {
			last = text
		}
	}
	return last
}

// call asks the API and answers the status.
func (s *server) call(t *testing.T, method, path, token string, body, answer any) int {
	res := s.request(t, method, path, token, body)
	if res == nil {
		return 0
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	if answer != nil && res.StatusCode < 300 {
		if err := json.Unmarshal(text, answer); err != nil {
			t.Errorf("%s %s answers %s", method, path, text)
		}
	}
	return res.StatusCode
}

func (s *server) request(t *testing.T, method, path, token string, body any) *http.Response {
	sent, err := json.Marshal(body)
	if err != nil {
		t.Error(err)
		return nil
	}
	if body == nil {
		sent = nil
	}
	// The test's own context has ended when its projects are destroyed.
	req, err := http.NewRequest(method, "http://127.0.0.1:"+s.port+"/api/v1"+path, bytes.NewReader(sent))
	if err != nil {
		t.Error(err)
		return nil
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return nil
	}
	return res
}

// tail keeps the end of what the program logs, and all errors.
type tail struct {
	mu     sync.Mutex
	kept   []byte
	errors []string
}

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, b...)
	for line := range strings.Lines(string(b)) { // the program writes whole lines
		if strings.Contains(line, "level=ERROR") {
			l.errors = append(l.errors, line)
		}
	}
	l.kept = l.kept[max(0, len(l.kept)-16<<10):]
	return len(b), nil
}

// forget drops the errors with one of these words: those that a test has made.
func (l *tail) forget(words ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = slices.DeleteFunc(l.errors, func(line string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(line, word) })
	})
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.kept)
}
