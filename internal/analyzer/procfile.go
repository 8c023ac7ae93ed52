package analyzer

import (
	"fmt"
	"path"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// processes are the lines of the Procfile: name to command.
func (a *app) processes() map[string]string {
	processes := map[string]string{}
	for _, line := range a.procfileLines() {
		processes[line.name] = line.command
	}
	if len(processes) == 0 {
		return nil
	}
	return processes
}

// procfile is one process of the Procfile; a command that only names a script becomes that script.
func (a *nodeApp) procfile(name string) coderunner.Choice {
	for _, line := range a.procfileLines() {
		if line.name != name {
			continue
		}
		why := fmt.Sprintf("Procfile:%d", line.number)
		e := &expansion{scripts: a.pkg.scripts}
		if script, ok := e.reference(line.command); ok {
			if text, f, ok := a.pkg.script(script); ok {
				return coderunner.Choice{Value: text, Why: why + ", " + scriptWhy(script, f)}
			}
		}
		return coderunner.Choice{Value: line.command, Why: why}
	}
	return coderunner.Choice{}
}

type procfileLine struct {
	name, command string
	number        int
}

// procfileLines reads the Procfile as lines, not as YAML: a command may hold colons.
func (a *app) procfileLines() []procfileLine {
	if !a.hasFile("Procfile") {
		return nil
	}
	data, err := a.tree.read(path.Join(a.root, "Procfile"), 64<<10)
	if err != nil {
		return nil
	}
	var lines []procfileLine
	number := 0
	for line := range strings.Lines(strings.ToValidUTF8(string(data), "\uFFFD")) {
		number++
		name, command, ok := strings.Cut(line, ":")
		name, command = strings.TrimSpace(name), strings.TrimSpace(command)
		usable := command != "" && len(command) <= coderunner.MaxCommand && strings.IndexByte(command, 0) < 0
		if ok && name != "" && usable && !strings.ContainsAny(name, " #\t\x00") && len(lines) < 50 {
			lines = append(lines, procfileLine{name: name, command: command, number: number})
		}
	}
	return lines
}
