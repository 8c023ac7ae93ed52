package diagnosis

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// sidePorts are opened by tools beside the app: the inspector and live reload.
var sidePorts = map[int]bool{9229: true, 24678: true, 35729: true}

// health is about an app that runs and does not answer as it should.
func (c *evidenceCase) health() coderunner.Failure {
	port := c.ev.Plan.Port
	sockets := c.sockets()
	var onPort, elsewhere []sandbox.Socket
	for _, s := range sockets {
		if s.Port != port {
			elsewhere = append(elsewhere, s)
			continue
		}
		if !s.Loopback() {
			return c.answers()
		}
		onPort = append(onPort, s)
	}
	switch {
	case c.ev.Status >= 500:
		return c.answers()
	case len(onPort) > 0:
		return c.loopback(onPort[0], fmt.Sprintf("The app listens on %s only, which nobody outside its sandbox can reach.", address(onPort[0])))
	case len(elsewhere) > 0:
		return c.wrongPort(elsewhere)
	}
	if f, ok := c.read(); ok {
		return f
	}
	return coderunner.Failure{ID: "health.not_listening", Title: fmt.Sprintf("The app runs, but did not listen on port %d (PORT) within %s.", port, spell(c.ev.Timeout)),
		Detail: "Nothing in its sandbox listens on any port. The start command was: " + quote(c.ev.Command) + ".",
		Next:   "Let the app call " + c.listenCall() + " when it starts, before work that takes long. A program that serves no requests cannot be deployed as a web app: a Procfile names it as a worker beside one."}
}

// listenCall is how a program of the plan's runtime listens, for a sentence.
func (c *evidenceCase) listenCall() string {
	switch c.ev.Plan.Runtime.Name {
	case "python":
		return "app.run(host=\"0.0.0.0\", port=int(os.environ[\"PORT\"]))"
	case "go":
		return "http.ListenAndServe(\":\"+os.Getenv(\"PORT\"), …)"
	}
	return "listen(process.env.PORT)"
}

// sockets are those of the app itself, without what its tools open.
func (c *evidenceCase) sockets() []sandbox.Socket {
	return slices.DeleteFunc(slices.Clone(c.ev.Sockets), func(s sandbox.Socket) bool { return sidePorts[s.Port] && s.Port != c.ev.Plan.Port })
}

func (c *evidenceCase) loopback(s sandbox.Socket, title string) coderunner.Failure {
	return coderunner.Failure{ID: "health.loopback", Title: title,
		Detail: fmt.Sprintf("It has to listen on 0.0.0.0 port %d; %s is the sandbox's own loopback.", c.ev.Plan.Port, s.IP),
		Next:   "Listen on 0.0.0.0 instead of localhost: " + c.listenEverywhere() + c.hostOption() + ".",
		Fixes:  change(coderunner.FixStart, c.ev.Plan.Start, c.startEverywhere())}
}

func (c *evidenceCase) listenEverywhere() string {
	if c.runs("nodejs") {
		return "app.listen(process.env.PORT, \"0.0.0.0\")"
	}
	return c.listenCall()
}

// hostServers take the address to listen on as the option --host.
var hostServers = []string{"vite", "vite preview", "uvicorn ", "flask run", "flask --app ", "fastapi run", "npx vite"}

// startEverywhere is the start command with the option that makes it listen on 0.0.0.0, "" if it
// is not known to have one.
func (c *evidenceCase) startEverywhere() string {
	command := c.ev.Plan.Start.Value
	if strings.ContainsAny(command, ";&|\n") || strings.Contains(command, "--host") {
		return ""
	}
	for _, server := range hostServers {
		if command == server || strings.HasPrefix(command, server) && (strings.HasSuffix(server, " ") || strings.HasPrefix(command, server+" ")) {
			return command + " --host 0.0.0.0"
		}
	}
	return ""
}

// hostOption names the option of a server that is configured by its command.
func (c *evidenceCase) hostOption() string {
	if strings.Contains(c.ev.Command, "vite") || strings.Contains(strings.ToLower(c.ev.Plan.Framework.Value), "vite") {
		return ", or add --host 0.0.0.0 to the start command"
	}
	return ""
}

func (c *evidenceCase) wrongPort(sockets []sandbox.Socket) coderunner.Failure {
	want, s := c.ev.Plan.Port, sockets[0]
	for _, other := range sockets {
		if !other.Loopback() {
			s = other // one that could be routed to is the likelier server
			break
		}
	}
	if s.Loopback() {
		f := c.loopback(s, fmt.Sprintf("The app listens on %s only: the wrong port (%d is wanted), and nobody outside its sandbox can reach it.", address(s), want))
		f.ID = "health.wrong_port"
		return f
	}
	var all []string
	for _, other := range sockets {
		all = append(all, address(other))
	}
	return coderunner.Failure{ID: "health.wrong_port", Title: fmt.Sprintf("The app listens on %d, not on %d (PORT).", s.Port, want),
		Detail: fmt.Sprintf("Requests go to port %d, and nothing listens there. In the sandbox listens: %s.", want, strings.Join(all, ", ")),
		Next:   fmt.Sprintf("Listen on %s, or change the port of the plan to %d and deploy again.", c.portVariable(), s.Port), Fixes: c.usePort(s.Port)}
}

func (c *evidenceCase) portVariable() string {
	switch c.ev.Plan.Runtime.Name {
	case "nodejs":
		return "process.env.PORT"
	case "python":
		return "os.environ[\"PORT\"]"
	}
	return "the port that the variable PORT names"
}

// usePort is the fix that expects the app where it listens.
func (c *evidenceCase) usePort(port int) []coderunner.Fix {
	if port < 1024 {
		return nil // the plan would not take it
	}
	return []coderunner.Fix{coderunner.NewFix(coderunner.FixPort, strconv.Itoa(port))}
}

// answers is about an app that listens where it should.
func (c *evidenceCase) answers() coderunner.Failure {
	where := c.ev.HealthPath
	if where == "" {
		where = "/"
	}
	if c.ev.Status < 500 {
		if f, ok := c.read(); ok {
			return f
		}
		return coderunner.Failure{ID: "health.silent", Title: fmt.Sprintf("The app listens on port %d, but gave no answer to GET %s within %s.", c.ev.Plan.Port, cut(where), spell(c.ev.Timeout)),
			Detail: "The connection is accepted and no HTTP answer comes.",
			Next:   "Check what the app waits for when it handles that path (a database, another service), and that the port speaks HTTP, not HTTPS. A path that always answers can be set as the health path of the plan."}
	}
	f := coderunner.Failure{ID: "health.status", Title: fmt.Sprintf("The app answers %d to GET %s.", c.ev.Status, cut(where)),
		Detail: fmt.Sprintf("It was asked for %s; anything below 500 would have been taken as healthy.", spell(c.ev.Timeout)),
		Next:   "Read its last lines and correct the error. If that path needs something that is not there yet, set another health path in the plan."}
	if cause, ok := c.read(); ok {
		cause.Title = strings.TrimSuffix(f.Title, ".") + ": " + lowerFirst(cause.Title)
		return cause
	}
	return f
}

// lowerFirst continues a sentence with another one; names such as Node.js stay as they are.
func lowerFirst(sentence string) string {
	for _, article := range []string{"The ", "A "} {
		if rest, ok := strings.CutPrefix(sentence, article); ok {
			return strings.ToLower(article) + rest
		}
	}
	return sentence
}

func address(s sandbox.Socket) string { return net.JoinHostPort(s.IP, strconv.Itoa(s.Port)) }
