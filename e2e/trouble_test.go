package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/playwright-community/playwright-go"
)

// trouble waits for a page that says what went wrong, and checks that it tells what to
// do next.
func (p *tab) trouble(status int, heading, next string) {
	p.t.Helper()
	p.sees(".trouble-status", strconv.Itoa(status))
	p.sees("h1", heading)
	p.sees(".trouble", next)
	p.sees(".trouble-id", "Request id")
	if p.count(".trouble-do a") == 0 {
		p.t.Errorf("the page about %d has no way on", status)
	}
}

// TestPagesAboutTroubleSayWhatToDoNext meets each kind of trouble in the browser.
func TestPagesAboutTroubleSayWhatToDoNext(t *testing.T) {
	t.Parallel()
	must(t, os.MkdirAll(screenshots, 0o755))
	s := ownServer(t, "--max-upload", "1MiB")
	u, page := member(t, s)
	page.expecting("status of 403", "status of 404", "status of 413", "status of 50")

	page.drop(hello(t, "unlucky", "never"))
	page.plan()
	plan := page.URL()

	// Another site's page sends a form here.
	elsewhere := u.tab()
	elsewhere.expecting("status of 403")
	must(t, elsewhere.SetContent(fmt.Sprintf(`<form method="post" action="%s/logout"><button>Win a prize</button></form>`, s.url)))
	elsewhere.press("Win a prize")
	elsewhere.trouble(403, "Not allowed", "a page elsewhere tried to act in your name; nothing was changed")
	elsewhere.looked("trouble-403")
	must(t, elsewhere.Close())

	// A form that is too large, and an upload without the page's script.
	guest := visitor(t, s).tab()
	guest.expecting("status of 413")
	guest.open("/login")
	guest.js(`() => { const field = document.querySelector("#email"); field.type = "text"; field.maxLength = 1e6; field.value = "a".repeat(3e5); }`)
	guest.fill("Password", password)
	guest.press("Log in")
	guest.trouble(413, "Too large", "Shorten what is in it.")
	guest.looked("trouble-413")
	guest.lacks(".trouble", "node_modules")
	plain := u.tab()
	plain.expecting("status of 413")
	plain.open("/projects")
	plain.js(`() => {
		const form = document.createElement("form");
		Object.assign(form, { method: "post", enctype: "multipart/form-data", action: "/upload?name=big", id: "plain" });
		form.innerHTML = '<input type="file" name="file"><button>Send</button>';
		document.querySelector("main").append(form);
	}`)
	must(t, plain.Locator("#plain input").SetInputFiles(playwright.InputFile{Name: "big.tar", MimeType: "application/x-tar", Buffer: make([]byte, 2<<20)}))
	plain.press("Send")
	plain.sees(".trouble", "larger than 1 MiB")
	plain.trouble(413, "Too large", "Leave out what the app does not need, such as node_modules")
	must(t, plain.Close())

	// A fault of ours.
	database := s.database(t)
	_, err := database.Exec(t.Context(), `ALTER TABLE variables RENAME TO gone`)
	must(t, err)
	page.open(plan)
	page.trouble(500, "Something went wrong", "look up the request id in the server's log")
	page.looked("trouble-500")
	page.lacks(".trouble", "variables")
	_, err = database.Exec(t.Context(), `ALTER TABLE gone RENAME TO variables`)
	must(t, err)
	must(t, database.Close(t.Context()))
	_, err = page.Reload()
	must(t, err)
	page.sees("h1", "Check the plan, then deploy")

	// The platform's database is away, and comes back.
	broken := filepath.Join(s.dataDir, "postgres/data/global/pg_control")
	must(t, os.Rename(broken, broken+".away"))
	must(t, s.postmaster(t).Signal(syscall.SIGQUIT))
	page.open("/account")
	page.trouble(503, "Out of reach for a moment", "Wait a minute and load the page again.")
	page.looked("trouble-503")
	must(t, os.Rename(broken+".away", broken))
	page.comes("/account", ".facts", u.email)

	// CodeRunner itself is away: its edge says so, and the page comes back by itself.
	must(t, s.kill())
	page.open("/account")
	page.sees("h1", "CodeRunner is restarting")
	page.sees("body", "This page asks again by itself.")
	page.looked("edge-restarting")
	must(t, s.serve("127.0.0.1:"+s.port))
	page.sees(".facts", u.email)

	// Nobody's address.
	stranger := u.tab()
	stranger.expecting("status of 404")
	if status := stranger.open("http://nobody-here.localhost:" + s.port); status != 404 {
		t.Errorf("an address without an app answers %d", status)
	}
	stranger.sees("h1", "Nothing runs at this address")
	stranger.sees("body", "If it is yours, open it in CodeRunner and deploy it.")
	stranger.looked("edge-nothing")
	s.log.forget("variables", "database", "notifier")
}

// lacks checks that a part of the page does not have this text.
func (p *tab) lacks(selector, text string) {
	p.t.Helper()
	if said := p.text(selector); strings.Contains(said, text) {
		p.t.Errorf("%s has %q: %s", selector, text, said)
	}
}

// comes loads a page until it has what it should show.
func (p *tab) comes(address, selector, text string) {
	p.t.Helper()
	for p.open(address) != 200 {
		select {
		case <-p.t.Context().Done():
			p.t.Fatalf("%s does not come back", address)
		default:
		}
	}
	p.sees(selector, text)
}

// database is a connection of our own to the server's private PostgreSQL.
func (s *server) database(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), "host="+filepath.Join(s.dataDir, "postgres/run")+" port=5432 user=coderunner dbname=coderunner")
	must(t, err)
	return conn
}

// postmaster is the process of the server's private PostgreSQL.
func (s *server) postmaster(t *testing.T) *os.Process {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dataDir, "postgres/data/postmaster.pid"))
	must(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	must(t, err)
	process, err := os.FindProcess(pid)
	must(t, err)
	return process
}
