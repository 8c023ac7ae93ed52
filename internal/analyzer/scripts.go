package analyzer

import (
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// script returns the shell text that "npm run name" would execute, pre and post
// scripts included, without npm itself: that saves half a second at each start.
// A script that is nothing but another one's name is followed. ok is false if
// there is no such script or it is blank.
//
// A script that reads npm's own variables, and one too long for a command, stays
// with npm.
func (p *packageJSON) script(name string) (text string, f field, ok bool) {
	f, ok = p.scripts.get(name)
	if !ok || strings.TrimSpace(f.value) == "" {
		return "", f, false
	}
	e := &expansion{scripts: p.scripts, budget: 100}
	text = e.script(name)
	if e.budget <= 0 || len(text) > coderunner.MaxCommand || strings.Contains(text, "npm_") || strings.IndexByte(text, 0) >= 0 {
		return "npm run " + shellQuote(name), f, true
	}
	return text, f, true
}

// expansion replaces references between scripts by the scripts' texts.
type expansion struct {
	scripts table
	open    []string // the scripts being expanded; a reference to one of them stays
	budget  int      // references left; scripts that multiply each other use it up
}

func (e *expansion) script(name string) string {
	e.open = append(e.open, name)
	defer func() { e.open = e.open[:len(e.open)-1] }()
	var parts []string
	for _, each := range []string{"pre" + name, name, "post" + name} {
		if f, ok := e.scripts.get(each); ok && strings.TrimSpace(f.value) != "" {
			parts = append(parts, e.text(f.value))
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	for i := range parts {
		parts[i] = grouped(parts[i])
	}
	return strings.Join(parts, " && ")
}

// text expands the references among the && parts of a script.
func (e *expansion) text(script string) string {
	script = strings.TrimSpace(script)
	parts := chain(script)
	for i, part := range parts {
		name, ok := e.reference(part)
		if !ok {
			continue
		}
		if e.budget--; e.budget <= 0 {
			return script
		}
		parts[i] = e.script(name)
		if len(parts) > 1 {
			parts[i] = grouped(parts[i])
		}
	}
	return strings.Join(parts, " && ")
}

// chain splits a script at its && operators, unless it has anything that makes that unsafe.
func chain(script string) []string {
	if strings.ContainsAny(script, "\"'`\\()|;#\n") || strings.Contains(script, "&&&") {
		return []string{script}
	}
	parts := strings.Split(script, "&&")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
		if parts[i] == "" || strings.Contains(parts[i], "&") {
			return []string{script}
		}
	}
	return parts
}

// reference reports which script a command runs, if it does nothing else.
func (e *expansion) reference(command string) (name string, ok bool) {
	words := strings.Fields(command)
	if len(words) < 2 {
		return "", false
	}
	rest := words[1:]
	switch words[0] {
	case "npm":
		switch rest[0] {
		case "run", "run-script":
			rest = rest[1:]
			if len(rest) > 0 && (rest[0] == "-s" || rest[0] == "--silent") {
				rest = rest[1:]
			}
		case "start", "test":
		default:
			return "", false
		}
	case "yarn", "pnpm":
		if rest[0] == "run" {
			rest = rest[1:]
		}
	default:
		return "", false
	}
	if len(rest) != 1 {
		return "", false
	}
	for _, open := range e.open {
		if open == rest[0] {
			return "", false
		}
	}
	f, ok := e.scripts.get(rest[0])
	return rest[0], ok && strings.TrimSpace(f.value) != ""
}

// grouped keeps a command together beside an &&.
func grouped(command string) string {
	if strings.ContainsAny(command, ";|#\n") || strings.Contains(strings.ReplaceAll(command, "&&", ""), "&") {
		return "(" + command + "\n)"
	}
	return command
}

// shellQuote makes one word of text for a POSIX shell.
func shellQuote(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./_-", r)
	}
	if text != "" && strings.TrimLeftFunc(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
