package analyzer

import (
	"bytes"
	"regexp"
	"strings"
)

// pythonMarks are what is looked for in Python sources.
var pythonMarks = []mark{
	{"environ", lookPythonEnviron}, {"getenv(", lookPythonCall("getenv(")},
	{"env(", lookPythonCall("env(")}, {"env.", lookEnvironMethod}, {"config(", lookPythonCall("config(")},
	{"import ", lookPythonImport}, {"from ", lookPythonImport},
	{"Flask(", lookPythonApp("Flask")}, {"FastAPI(", lookPythonApp("FastAPI")}, {"Starlette(", lookPythonApp("Starlette")},
	{"Quart(", lookPythonApp("Quart")}, {"Litestar(", lookPythonApp("Litestar")}, {"Dash(", lookPythonApp("Dash")},
	{"_app(", lookPythonFactory},
	{".run(", lookPythonRun}, {"serve_forever(", lookServes}, {".launch(", lookServes},
	{":5432", lookPostgres},
}

var (
	pythonText     = regexp.MustCompile(`^\s*["']([A-Za-z_]\w{0,127})["']`)
	pythonAssigned = regexp.MustCompile(`^([A-Za-z_]\w{0,60})\s*(?::\s*[\w.]{1,60}\s*)?=\s*(?:[A-Za-z_]\w*\.)*$`)
	pythonPort     = regexp.MustCompile(`\bport\s*=\s*(\d{1,5})\s*[,)]`)
	pythonHost     = regexp.MustCompile(`\bhost\s*=\s*["']([^"']{1,60})["']`)
	pythonModule   = regexp.MustCompile(`^\s*([A-Za-z_]\w{0,60})`)
	environMethod  = regexp.MustCompile(`^env\.(?:str|bool|int|float|list|url|db|db_url|json|dict|path|cache|cache_url)\(`)
)

// lookPythonEnviron reads environ["KEY"] and environ.get("KEY"), but not environ["KEY"] = ….
func lookPythonEnviron(data []byte, at int, add func(finding)) {
	rest := window(data, at+len("environ"), 200)
	for _, open := range []string{"[", ".get(", ".setdefault("} {
		text, ok := bytes.CutPrefix(rest, []byte(open))
		if !ok || open == ".setdefault(" {
			continue
		}
		if m := pythonText.FindSubmatch(text); m != nil {
			after := bytes.TrimPrefix(text[len(m[0]):], []byte("]"))
			if open == ".get(" || !assigned(after) {
				addKey(m[1], add)
			}
		}
	}
}

// lookPythonCall reads call("KEY") of os.getenv, and of django-environ and decouple where the file imports them.
func lookPythonCall(call string) func([]byte, int, func(finding)) {
	return func(data []byte, at int, add func(finding)) {
		if at > 0 && (isWordByte(data[at-1]) || data[at-1] == '.' && call != "getenv(") {
			return
		}
		if call == "env(" && !bytes.Contains(data, []byte("environ")) && !bytes.Contains(data, []byte("environs")) ||
			call == "config(" && !bytes.Contains(data, []byte("decouple")) && !bytes.Contains(data, []byte("starlette.config")) {
			return
		}
		if m := pythonText.FindSubmatch(window(data, at+len(call), 200)); m != nil {
			addKey(m[1], add)
		}
	}
}

// lookEnvironMethod reads env.str("KEY") and the like of django-environ and environs.
func lookEnvironMethod(data []byte, at int, add func(finding)) {
	if at > 0 && (isWordByte(data[at-1]) || data[at-1] == '.') || !bytes.Contains(data, []byte("environ")) {
		return
	}
	text := window(data, at, 200)
	if call := environMethod.Find(text); call != nil {
		if m := pythonText.FindSubmatch(text[len(call):]); m != nil {
			addKey(m[1], add)
		}
	}
}

// lookPythonImport keeps the top package of import a.b and from a.b import c.
func lookPythonImport(data []byte, at int, add func(finding)) {
	before := lineBefore(data, at)
	if len(bytes.TrimSpace(before)) > 0 {
		return
	}
	_, text, _ := bytes.Cut(window(data, at, 100), []byte(" "))
	if m := pythonModule.FindSubmatch(text); m != nil {
		add(finding{kind: imports, text: string(m[1])})
	}
}

// lookPythonApp reads app = FastAPI( at the left margin: what a server can import.
func lookPythonApp(framework string) func([]byte, int, func(finding)) {
	return func(data []byte, at int, add func(finding)) {
		if m := pythonAssigned.FindSubmatch(lineBefore(data, at)); m != nil {
			add(finding{kind: makesApp, text: string(m[1]), more: framework})
		}
	}
}

// lookPythonFactory reads app = create_app( and def create_app( at the left margin.
func lookPythonFactory(data []byte, at int, add func(finding)) {
	before := lineBefore(data, at)
	for _, verb := range []string{"create", "make", "build", "get"} {
		left, ok := bytes.CutSuffix(before, []byte(verb))
		if !ok {
			continue
		}
		if string(left) == "def " {
			// One that wants arguments cannot be called by a server.
			arguments, _, _ := bytes.Cut(window(data, at+len("_app("), 200), []byte(")"))
			for argument := range strings.SplitSeq(string(arguments), ",") {
				if argument = strings.TrimSpace(argument); argument != "" && !strings.ContainsAny(argument, "=*") {
					return
				}
			}
			add(finding{kind: makesApp, text: verb + "_app()", more: "factory"})
		} else if m := pythonAssigned.FindSubmatch(left); m != nil {
			add(finding{kind: makesApp, text: string(m[1]), more: "made"})
		}
		return
	}
}

// lookPythonRun reads app.run(host="…", port=5000) and uvicorn.run(app, port=8000).
func lookPythonRun(data []byte, at int, add func(finding)) {
	before := lineBefore(data, at)
	name := string(before[bytes.LastIndexAny(before, " \t=(")+1:])
	switch name {
	case "subprocess", "asyncio", "loop", "anyio", "trio", "self", "mcp", "runner", "unittest", "pytest", "cli", "typer":
		return
	}
	call := window(data, at+len(".run("), 300)
	if end := bytes.IndexByte(call, ')'); end >= 0 {
		call = call[:end+1]
	}
	f := finding{kind: listensOn, text: hostOmitted}
	if m := pythonHost.FindSubmatch(call); m != nil {
		f.text = string(m[1])
	} else if bytes.Contains(call, []byte("host")) {
		f.text = ""
	}
	switch m := pythonPort.FindSubmatch(call); {
	case m != nil:
		f.port = number(data, m[1])
	case bytes.Contains(call, []byte("port")):
	case name == "uvicorn":
		f.port = 8000
	case name == "app" || name == "application" || name == "server":
		f.port = 5000
	default:
		return
	}
	add(f)
}

func lookServes(_ []byte, _ int, add func(finding)) { add(finding{kind: serves}) }

// lineBefore is what stands before at on its line.
func lineBefore(data []byte, at int) []byte {
	before := data[max(at-200, 0):at]
	if i := bytes.LastIndexByte(before, '\n'); i >= 0 {
		return before[i+1:]
	}
	if at > len(before) {
		return []byte("…") // a long line, of which this is the middle
	}
	return before
}
