package analyzer

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// defaultPort is what an app is told through PORT.
const defaultPort = 8080

var (
	portAssigned = regexp.MustCompile(`(?:^|[\s;&(])PORT=(\d{1,5})(?:\s|$)`)
	portFlag     = regexp.MustCompile(`\s(?:-p|--port|-l|--listen)[ =](\d{2,5})(?:[\s;&)]|$)`)
	listenFixed  = regexp.MustCompile("^\\s*(\\d{1,5})\\s*[,)](?:\\s*[\"'`]([^\"'`]{1,60})[\"'`])?")
	listenNamed  = regexp.MustCompile("^\\s*([A-Za-z_$][\\w$]*)\\s*[,)](?:\\s*[\"'`]([^\"'`]{1,60})[\"'`])?")
	objectPort   = regexp.MustCompile(`\bport\s*:\s*(\d{1,5}|[A-Za-z_$][\w$]*)\s*[,}]`)
	objectHost   = regexp.MustCompile("\\b(?:host|hostname)\\s*:\\s*[\"'`]([^\"'`]{1,60})[\"'`]")
)

// port chooses the port: what the app is told, unless it plainly listens on another one.
func (a *nodeApp) port(p *coderunner.Plan) {
	p.Port, p.PortWhy = defaultPort, "the default, given to the app as PORT"
	a.warnLoopback()
	for _, text := range []*regexp.Regexp{portAssigned, portFlag} {
		if m := text.FindStringSubmatch(p.Start.Value); m != nil {
			a.fixedPort(p, m[1], "the start command sets it")
			return
		}
	}
	if p.StaticDir.Value != "" {
		return
	}
	if f, ok := a.source.reads("PORT"); ok {
		p.PortWhy = "process.env.PORT read in " + f.at()
		return
	}
	f, ok := a.source.first(func(f finding) bool { return f.kind == listensOn && f.port > 0 })
	if !ok {
		return
	}
	a.fixedPort(p, strconv.Itoa(f.port), f.at()+" listens on it and nothing reads PORT")
	if p.Port == f.port {
		a.warn("%s listens on port %d whatever PORT says. It is used as it is; process.env.PORT would be safer.", f.at(), f.port)
	}
}

func (a *app) fixedPort(p *coderunner.Plan, digits, why string) {
	port, err := strconv.Atoi(digits)
	if err != nil || port < 1 || port > 65535 {
		return
	}
	if port < 1024 {
		a.warn("The app listens on port %d (%s), which only the system may use. Listen on the one in the variable PORT.", port, why)
		return
	}
	p.Port, p.PortWhy = port, why
}

// warnLoopback tells about servers that nobody outside the sandbox can reach.
func (a *nodeApp) warnLoopback() {
	for _, f := range a.source.findings {
		if f.kind == listensOn && isLoopback(f.text) {
			a.warn("%s listens on %s, which is only reachable from inside the sandbox. Listen on 0.0.0.0.", f.at(), printable(f.text))
			return
		}
	}
	if _, fastify := a.pkg.dependency("fastify"); fastify {
		if f, ok := a.source.first(func(f finding) bool { return f.kind == listensOn && f.text == hostOmitted }); ok {
			a.warn("%s names no host, and Fastify then listens on localhost only. Add host: \"0.0.0.0\".", f.at())
		}
	}
}

func isLoopback(host string) bool {
	return host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1" || host == "[::1]"
}

// hostOmitted is the host of a listen call with an object that has none.
const hostOmitted = "(none)"

// lookListen reads .listen(3000), .listen(port, "host") and .listen({ port: 3000, host: "…" }).
func lookListen(data []byte, at int, add func(finding)) {
	text := window(data, at+len(".listen("), 200)
	if object, ok := bytes.CutPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")); ok {
		end := bytes.IndexByte(object, '}')
		if end < 0 {
			return
		}
		object = object[:end+1]
		f := finding{kind: listensOn, text: hostOmitted}
		if m := objectHost.FindSubmatch(object); m != nil {
			f.text = string(m[1])
		} else if bytes.Contains(object, []byte("host")) || bytes.Contains(object, []byte("...")) || bytes.Contains(object, []byte("path")) {
			f.text = ""
		}
		if m := objectPort.FindSubmatch(object); m != nil {
			f.port = number(data, m[1])
		}
		add(f)
		return
	}
	for _, form := range []*regexp.Regexp{listenFixed, listenNamed} {
		if m := form.FindSubmatch(text); m != nil {
			add(finding{kind: listensOn, text: string(m[2]), port: number(data, m[1])})
			return
		}
	}
}

// lookServe reads serve({ fetch, port: 3000 }) of Hono, which listens on 3000 by itself.
func lookServe(data []byte, at int, add func(finding)) {
	if !bytes.Contains(data, []byte("@hono/node-server")) || at > 0 && isWordByte(data[at-1]) {
		return
	}
	text := window(data, at, 300)
	if end := bytes.IndexByte(text, '}'); end >= 0 {
		text = text[:end+1]
	}
	f := finding{kind: listensOn, port: 3000}
	if m := objectPort.FindSubmatch(text); m != nil {
		f.port = number(data, m[1])
	} else if bytes.Contains(text, []byte("port")) {
		f.port = 0
	}
	if m := objectHost.FindSubmatch(text); m != nil {
		f.text = string(m[1])
	}
	add(f)
}

// number is the value of a literal, or of a name that the file gives a literal; 0 if it is neither.
func number(data, text []byte) int {
	if n, err := strconv.Atoi(string(text)); err == nil {
		return n
	}
	for range 20 {
		at := bytes.Index(data, text)
		if at < 0 {
			return 0
		}
		rest := bytes.TrimLeft(window(data, at+len(text), 40), " \t")
		whole := at == 0 || !isWordByte(data[at-1]) && data[at-1] != '.'
		data = data[at+len(text):]
		if value, ok := bytes.CutPrefix(rest, []byte("=")); ok && whole {
			value = bytes.TrimLeft(value, " \t")
			digits := word(value)
			end := bytes.TrimLeft(value[len(digits):], " \t")
			if n, err := strconv.Atoi(string(digits)); err == nil && (len(end) == 0 || bytes.IndexByte([]byte(";,\r\n/"), end[0]) >= 0) {
				return n
			}
			return 0
		}
	}
	return 0
}
