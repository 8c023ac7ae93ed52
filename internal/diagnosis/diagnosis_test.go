package diagnosis

import (
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// expectation is what a person must be told; every part has to be contained.
type expectation struct {
	id                  string
	title, detail, next string
	blame               coderunner.Blame // "" for theirs
}

func (want expectation) check(t *testing.T, ev Evidence) {
	t.Helper()
	got := Diagnose(ev)
	if want.blame == "" {
		want.blame = coderunner.Theirs
	}
	if got.ID != want.id || got.Blame != want.blame || !strings.Contains(got.Title, want.title) || !strings.Contains(got.Detail, want.detail) || !strings.Contains(got.Next, want.next) {
		t.Errorf("got %s (%s)\n  %s\n  %s\n  %s\nwant %+v", got.ID, got.Blame, got.Title, got.Detail, got.Next, want)
	}
	for what, sentence := range map[string]string{"title": got.Title, "detail": got.Detail, "next": got.Next} {
		if sentence == "" && what != "detail" || strings.Contains(sentence, "\x1b") || strings.Contains(sentence, "  ") || len(sentence) > 900 {
			t.Errorf("%s: the %s is no sentence to show: %q", got.ID, what, sentence)
		}
		if sentence != "" && !strings.HasSuffix(sentence, ".") && !strings.HasSuffix(sentence, "…") && !strings.HasSuffix(sentence, "”") && what != "detail" {
			t.Errorf("%s: the %s does not end: %q", got.ID, what, sentence)
		}
	}
}

func plan() coderunner.Plan {
	return coderunner.Plan{Root: ".", Port: 3000, Runtime: coderunner.Runtime{Name: "nodejs", Version: "18"}, Install: coderunner.Choice{Value: "npm ci"},
		EnvKeys: []coderunner.EnvKey{{Key: "STRIPE_KEY", Why: "pay.js:3"}, {Key: "DATABASE_URL", Why: "db.js:1"}}}
}

func TestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		ev   Evidence
		want expectation
	}{
		"exits at once": {
			Evidence{Step: "start", Command: "node index.js", Exited: true, ExitCode: 7, Uptime: 120 * time.Millisecond, Lines: []string{"about to end"}},
			expectation{id: "start.exited", title: "The app ended at once with exit code 7.", detail: "It ran for 120 ms. The start command was: “node index.js”.", next: "last lines"},
		},
		"exits later": {
			Evidence{Step: "start", Command: "node index.js", Exited: true, ExitCode: 1, Uptime: 75 * time.Second},
			expectation{id: "start.exited", title: "The app ended after 75 seconds with exit code 1."},
		},
		"exits with 0": {
			Evidence{Step: "start", Command: "node job.js", Exited: true, Uptime: 2 * time.Second},
			expectation{id: "start.finished", title: "ended by itself at once with exit code 0, without waiting for requests", next: "listen(process.env.PORT)"},
		},
		"an error that nothing caught": {
			Evidence{Step: "start", Command: "node j.js", Exited: true, ExitCode: 1, Uptime: time.Second, Lines: strings.Split("/app/j.js:1\nthrow new Error('boom')\n^\n\nError: boom\n    at Object.<anonymous> (/app/j.js:1:7)\n\nNode.js v18.20.4", "\n")},
			expectation{id: "start.exited", title: "exit code 1", detail: "It stopped on an error that nothing caught: Error: boom"},
		},
		"install fails": {
			Evidence{Step: "install", Command: "make deps", ExitCode: 3, Lines: []string{"broken lockfile"}},
			expectation{id: "install.failed", title: "The install command failed with exit code 3.", detail: "make deps", next: "install command can be changed"},
		},
		"build out of memory": {
			Evidence{Step: "build", Command: "vite build", ExitCode: 137, Signal: 9, OOMKilled: true},
			expectation{id: "build.out_of_memory", title: "The build command ran out of memory and was killed.", next: "Build on your own computer"},
		},
		"app out of memory": {
			Evidence{Step: "start", Exited: true, ExitCode: 137, Signal: 9, OOMKilled: true},
			expectation{id: "start.out_of_memory", title: "The app ran out of memory", detail: "memory limit", next: "less memory"},
		},
		"build over its disk": {
			Evidence{Step: "build", Command: "npm run build", ExitCode: 137, Signal: 9, OverDisk: 8 << 30, Lines: []string{"Error: ENOSPC: no space left on device"}},
			expectation{id: "build.over_disk", title: "The build command wrote more than 8 GiB to its disk and was ended.", detail: "npm run build", next: "generates more than it needs"},
		},
		"install over its disk": {
			Evidence{Step: "install", Command: "npm install", ExitCode: 137, Signal: 9, OverDisk: 1536 << 20},
			expectation{id: "install.over_disk", title: "The install command wrote more than 1.5 GiB to its disk and was ended.", detail: "npm install", next: "--app-disk"},
		},
		"app over its disk": {
			Evidence{Step: "start", Command: "node x.js", Exited: true, ExitCode: 137, Signal: 9, Uptime: 3 * time.Second, OverDisk: 8 << 30},
			expectation{id: "start.over_disk", title: "The app wrote more than 8 GiB to its disk and was ended.", detail: "It ran for 3 seconds.", next: "grow without an end"},
		},
		"heap of Node.js": {
			Evidence{Step: "build", ExitCode: 134, Lines: []string{"FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"}},
			expectation{id: "build.out_of_memory", title: "ran out of memory.", detail: "its own heap", next: "--max-old-space-size"},
		},
		"timed out": {
			Evidence{Step: "build", Command: "npm run dev", ExitCode: 137, Signal: 9, TimedOut: true, Timeout: 30 * time.Minute},
			expectation{id: "build.timed_out", title: "did not finish within 30 minutes", detail: "npm run dev", next: "has to end by itself"},
		},
		"killed": {
			Evidence{Step: "start", Command: "node x.js", Exited: true, ExitCode: 137, Signal: 9, Uptime: 3 * time.Second},
			expectation{id: "start.killed", title: "The app was ended by SIGKILL.", detail: "It ran for 3 seconds.", next: "lack of memory"},
		},
		"killed, told by the shell": {
			Evidence{Step: "build", Command: "npm run build", ExitCode: 139},
			expectation{id: "build.killed", title: "The build command was ended by SIGSEGV.", next: "native module"},
		},
		"no such signal": {
			Evidence{Step: "install", Command: "x", ExitCode: 255},
			expectation{id: "install.failed", title: "exit code 255"},
		},
		"start command not found": {
			Evidence{Step: "start", Command: "nodemon index.js", Exited: true, ExitCode: 127, Lines: []string{"/bin/sh: 1: nodemon: not found"}},
			expectation{id: "start.command_not_found", title: "The start command needs nodemon, which is not installed (exit code 127).", next: "not devDependencies"},
		},
		"build tool not found": {
			Evidence{Step: "build", Command: "npm run build", ExitCode: 127, Lines: []string{"> tsc -p .", "", "\x1b[31msh: 1: tsc: not found\x1b[0m"}},
			expectation{id: "build.command_not_found", title: "needs tsc", next: "NODE_ENV"},
		},
		"package manager not found": {
			Evidence{Step: "install", Command: "yarn install", ExitCode: 127, Lines: []string{"bash: line 1: yarn: command not found"}},
			expectation{id: "install.command_not_found", title: "needs yarn", next: "npx --yes yarn"},
		},
		"not found and no line says it": {
			Evidence{Step: "start", Command: "gunicorn app:app", Exited: true, ExitCode: 127},
			expectation{id: "start.command_not_found", title: "needs gunicorn"},
		},
		"not executable": {
			Evidence{Step: "start", Command: "./server.js", Exited: true, ExitCode: 126},
			expectation{id: "start.not_executable", title: "exit code 126", next: "node server.js"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.ev.Plan = plan()
			c.want.check(t, c.ev)
		})
	}
}

func TestHealth(t *testing.T) {
	socket := func(ip string, port int) sandbox.Socket { return sandbox.Socket{IP: ip, Port: port} }
	for name, c := range map[string]struct {
		ev   Evidence
		want expectation
	}{
		"never listens": {
			Evidence{Command: "node worker.js"},
			expectation{id: "health.not_listening", title: "did not listen on port 3000 (PORT) within 15 seconds", detail: "node worker.js", next: "listen(process.env.PORT)"},
		},
		"wrong port": {
			Evidence{Sockets: []sandbox.Socket{socket("0.0.0.0", 8000)}},
			expectation{id: "health.wrong_port", title: "The app listens on 8000, not on 3000 (PORT).", detail: "0.0.0.0:8000", next: "process.env.PORT, or change the port of the plan to 8000"},
		},
		"wrong port, several": {
			Evidence{Sockets: []sandbox.Socket{socket("127.0.0.1", 7000), socket("::", 8000)}},
			expectation{id: "health.wrong_port", title: "listens on 8000, not on 3000", detail: "127.0.0.1:7000, [::]:8000"},
		},
		"the inspector is not the app": {
			Evidence{Sockets: []sandbox.Socket{socket("127.0.0.1", 9229)}},
			expectation{id: "health.not_listening", title: "did not listen"},
		},
		"loopback": {
			Evidence{Sockets: []sandbox.Socket{socket("127.0.0.1", 3000)}},
			expectation{id: "health.loopback", title: "The app listens on 127.0.0.1:3000 only", detail: "0.0.0.0 port 3000", next: "Listen on 0.0.0.0"},
		},
		"loopback of IPv6, by vite": {
			Evidence{Command: "vite preview", Sockets: []sandbox.Socket{socket("::1", 3000)}},
			expectation{id: "health.loopback", title: "[::1]:3000 only", next: "--host 0.0.0.0"},
		},
		"wrong port on loopback": {
			Evidence{Sockets: []sandbox.Socket{socket("127.0.0.1", 8000)}},
			expectation{id: "health.wrong_port", title: "listens on 127.0.0.1:8000 only: the wrong port (3000 is wanted)", next: "Listen on 0.0.0.0"},
		},
		"answers 503": {
			Evidence{Status: 503, HealthPath: "/", Sockets: []sandbox.Socket{socket("::", 3000)}},
			expectation{id: "health.status", title: "The app answers 503 to GET /.", detail: "below 500", next: "last lines"},
		},
		"answers 500 for want of a table": {
			Evidence{Status: 500, HealthPath: "/up", Sockets: []sandbox.Socket{socket("::", 3000)}, Lines: []string{`error: relation "entries" does not exist`}},
			expectation{id: "database.no_table", title: "500 to GET /up: the database has no table entries yet", detail: "nothing has made it", next: "migrations"},
		},
		"accepts and says nothing": {
			Evidence{HealthPath: "/", Sockets: []sandbox.Socket{socket("127.0.0.1", 3000), socket("0.0.0.0", 3000)}},
			expectation{id: "health.silent", title: "gave no answer to GET / within 15 seconds", next: "HTTPS"},
		},
		"waits for a database that is not there": {
			Evidence{Lines: []string{"Error: connect ECONNREFUSED 127.0.0.1:5432"}},
			expectation{id: "database.localhost", title: "PostgreSQL on 127.0.0.1:5432", next: "DATABASE_URL"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.ev.Step, c.ev.Plan, c.ev.Timeout = "health", plan(), 15*time.Second
			c.want.check(t, c.ev)
			if f := Diagnose(c.ev); f.ExitCode != nil {
				t.Error("an app that runs has an exit code")
			}
		})
	}
}

func TestLines(t *testing.T) {
	var log []string
	for range 60 {
		log = append(log, "noise")
	}
	log[4] = "npm ERR! Missing: left-pad@1.3.0 from lock file"
	log = append(log, "", "  ", "\x1b[0m")
	f := Diagnose(Evidence{Step: "install", ExitCode: 1, Lines: log})
	if len(f.Lines) != shownLines || f.Lines[2] != log[4] {
		t.Errorf("the line that shows the cause is not among those shown: %q", f.Lines)
	}
	log[4], log[59] = "noise", "\x1b[31mthe last\x1b[0m"
	f = Diagnose(Evidence{Step: "install", ExitCode: 1, Lines: log})
	if len(f.Lines) != shownLines || f.Lines[shownLines-1] != log[59] {
		t.Errorf("not the last lines, colours kept, blank ones left out: %q", f.Lines)
	}
	if f.ExitCode == nil || *f.ExitCode != 1 {
		t.Errorf("the exit code is %v", f.ExitCode)
	}
	if f = Diagnose(Evidence{Step: "build", TimedOut: true, ExitCode: 137, Timeout: time.Minute}); f.ExitCode != nil || f.Lines != nil {
		t.Errorf("a command that we ended has an exit code, or lines from nowhere: %+v", f)
	}
}

// TestHostileText has the user's text in every place that a sentence quotes.
func TestHostileText(t *testing.T) {
	long := strings.Repeat("é", 1000)
	for _, line := range []string{
		"Error: Cannot find module '" + long + "'", "npm ERR! Missing script: \"" + long + "\"", "SyntaxError: " + long,
		"Error: getaddrinfo ENOTFOUND " + long, "npm ERR! Missing: " + long + " from lock file", "sh: 1: " + long + ": not found",
		"Error: \x1b]0;title\x07\x1b[2J\x00\x08" + long, "\xff\xfe broken", "Cannot find module '@'", "Cannot find module '/'", "npm ERR! 404 Not Found - GET https://",
	} {
		for _, step := range []string{"install", "build", "start", "health"} {
			for _, code := range []int{0, 1, 126, 127, 137, 255, -1} {
				f := Diagnose(Evidence{Step: step, Command: long + "\n\x1b[31m", ExitCode: code, Lines: []string{line}, Plan: plan(), Status: 500, HealthPath: long})
				text := f.Title + f.Detail + f.Next
				if f.ID == "" || f.Title == "" || f.Next == "" || len(text) > 3000 || strings.ContainsAny(text, "\x00\x07\x08\x1b\n") {
					t.Errorf("%s %d %.40q: %.200q", step, code, line, text)
				}
			}
		}
	}
}
