package diagnosis

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Exit codes that a shell gives a command it could not run.
const (
	notExecutable = 126
	notFound      = 127
)

// atOnce is how short a life looks like no life at all.
const atOnce = 5 * time.Second

var (
	// dash, bash, busybox and env name what they did not find.
	commandMissing = regexp.MustCompile(`^(?:/bin/)?(?:ba|da)?sh: (?:(?:line )?\d+: )?(?:exec: )?(\S+): (?:command )?not found$|^(?:/usr/bin/)?env: ['‘"]?([^'’":]+)['’"]?: No such file or directory$`)
	// An error that JavaScript did not catch, as Node.js prints it.
	uncaught = regexp.MustCompile(`^(?:Uncaught )?((?:[A-Z][A-Za-z]*)?(?:Error|Exception)(?: \[\w+\])?: .+)$`)
)

// signalNames has the signals that end programs.
var signalNames = map[syscall.Signal]string{
	syscall.SIGHUP: "SIGHUP", syscall.SIGINT: "SIGINT", syscall.SIGQUIT: "SIGQUIT", syscall.SIGILL: "SIGILL", syscall.SIGTRAP: "SIGTRAP",
	syscall.SIGABRT: "SIGABRT", syscall.SIGBUS: "SIGBUS", syscall.SIGFPE: "SIGFPE", syscall.SIGKILL: "SIGKILL", syscall.SIGUSR1: "SIGUSR1",
	syscall.SIGSEGV: "SIGSEGV", syscall.SIGUSR2: "SIGUSR2", syscall.SIGPIPE: "SIGPIPE", syscall.SIGALRM: "SIGALRM", syscall.SIGTERM: "SIGTERM",
	syscall.SIGXCPU: "SIGXCPU", syscall.SIGXFSZ: "SIGXFSZ", syscall.SIGSYS: "SIGSYS",
}

// end is about a command of which only its end is known.
func (c *evidenceCase) end() coderunner.Failure {
	if c.ev.ExitCode == notFound {
		return c.commandNotFound()
	}
	if c.ev.ExitCode == notExecutable {
		return coderunner.Failure{ID: c.ev.Step + ".not_executable", Title: c.subject() + " could not be run: what it names is not a program (exit code 126).",
			Detail: "The command was: " + quote(c.ev.Command) + ".", Next: "Run it through its interpreter, such as node server.js or sh start.sh, or keep the file's executable bit when you upload."}
	}
	if signal := c.signal(); signal > 0 {
		return c.killed(signal)
	}
	return c.exited()
}

// signal is what ended the command, also when a shell between us and it tells by 128 + n only.
func (c *evidenceCase) signal() int {
	if c.ev.Signal > 0 {
		return c.ev.Signal
	}
	if n := c.ev.ExitCode - 128; signalNames[syscall.Signal(n)] != "" {
		return n
	}
	return 0
}

func (c *evidenceCase) killed(signal int) coderunner.Failure {
	name := signalNames[syscall.Signal(signal)]
	if name == "" {
		name = fmt.Sprintf("signal %d", signal)
	}
	f := coderunner.Failure{ID: c.ev.Step + ".killed", Title: fmt.Sprintf("%s was ended by %s.", c.subject(), name),
		Detail: c.ranFor() + "The command was: " + quote(c.ev.Command) + ".", Next: "Read its last lines; deploy again if it was ended by hand."}
	switch syscall.Signal(signal) {
	case syscall.SIGKILL:
		f.Next = "Something killed it from outside, most often for lack of memory. Make it use less, and deploy again."
	case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGABRT:
		f.Next = "This is a crash inside a native module or the runtime itself. Install the native packages anew (delete package-lock.json and node_modules, npm install), or take other versions of them."
	}
	return f
}

func (c *evidenceCase) commandNotFound() coderunner.Failure {
	name := ""
	if at, m := c.last(commandMissing); at >= 0 {
		c.shownBy, name = at, firstOf(m)
	} else if fields := strings.Fields(c.ev.Command); len(fields) > 0 {
		name = fields[0]
	}
	name = cut(name)
	next := fmt.Sprintf("Correct the %s command in the plan, or add the package that brings %s to dependencies in package.json.", c.command(), name)
	switch {
	case c.runs("python"):
		next = fmt.Sprintf("Add %s to requirements.txt and upload it again, or correct the %s command in the plan.", name, c.command())
	case c.ev.Step == "start":
		next = fmt.Sprintf("Correct the start command in the plan, or add the package that brings %s to dependencies (not devDependencies) in package.json.", name)
	case c.ev.Step == "build":
		next = fmt.Sprintf("Add the package that brings %s to devDependencies in package.json. If it is there, remove the variable NODE_ENV: with production, npm leaves devDependencies out.", name)
	case name == "yarn" || name == "pnpm" || name == "bun":
		next = fmt.Sprintf("This appliance has npm only. Upload a package-lock.json (npm install makes one), or begin the install command with npx --yes %s.", name)
	}
	f := coderunner.Failure{ID: c.ev.Step + ".command_not_found", Title: fmt.Sprintf("The %s command needs %s, which is not installed (exit code 127).", c.command(), name),
		Detail: "The command was: " + quote(c.ev.Command) + ".", Next: next}
	if pkg := c.packageWith(name); c.devOnly(pkg) && c.ev.Step != "install" {
		f.Detail += fmt.Sprintf(" package.json has %s among devDependencies, and they were not installed.", pkg)
		f.Next = "Install them too, or move " + pkg + " to dependencies in package.json."
		f.Fixes = change(coderunner.FixInstall, c.ev.Plan.Install, withDev(c.ev.Plan.Install.Value))
	}
	return f
}

// programs are those that are called otherwise than the package that brings them.
var programs = map[string]string{"tsc": "typescript", "ng": "@angular/cli", "nest": "@nestjs/cli", "vue-cli-service": "@vue/cli-service", "svelte-kit": "@sveltejs/kit", "remix": "@remix-run/dev"}

func (c *evidenceCase) packageWith(program string) string {
	if pkg := programs[program]; pkg != "" {
		return pkg
	}
	return program
}

// withDev is npm's install command with devDependencies, "" for other commands and for one that has them.
func withDev(install string) string {
	if !strings.HasPrefix(install, "npm ci") && !strings.HasPrefix(install, "npm install") || strings.ContainsAny(install, ";&|") || strings.Contains(install, "--include=dev") {
		return ""
	}
	for _, without := range []string{" --production", " --omit=dev", " --only=production"} {
		install = strings.ReplaceAll(install, without, "")
	}
	return install + " --include=dev"
}

// command is the word for the step's command.
func (c *evidenceCase) command() string {
	if c.ev.Step == "health" {
		return "start"
	}
	return c.ev.Step
}

func (c *evidenceCase) ranFor() string {
	if c.ev.Uptime <= 0 {
		return ""
	}
	return "It ran for " + spell(c.ev.Uptime) + ". "
}

func (c *evidenceCase) exited() coderunner.Failure {
	code := c.ev.ExitCode
	if c.ev.Step != "start" {
		f := coderunner.Failure{ID: c.ev.Step + ".failed", Title: fmt.Sprintf("%s failed with exit code %d.", c.subject(), code),
			Detail: "The command was: " + quote(c.ev.Command) + ".", Next: fmt.Sprintf("Read its last lines, correct what they name, and deploy again. The %s command can be changed in the plan.", c.ev.Step)}
		if at, m := c.last(uncaught); at >= 0 {
			c.shownBy, f.Detail = at, cut(m[1])
		}
		return f
	}
	when := "after " + spell(c.ev.Uptime)
	if c.ev.Uptime < atOnce {
		when = "at once"
	}
	if code == 0 {
		return coderunner.Failure{ID: "start.finished", Title: fmt.Sprintf("The app ended by itself %s with exit code 0, without waiting for requests.", when),
			Detail: "A web app keeps running and listens on the port that the variable PORT names. The start command was: " + quote(c.ev.Command) + ".",
			Next:   "Start the server itself, in the foreground: no & or daemon option at the end of the start command, and a call of " + c.listenCall() + " in the code. What only works in the background goes into a Procfile, as a worker beside the app."}
	}
	f := coderunner.Failure{ID: "start.exited", Title: fmt.Sprintf("The app ended %s with exit code %d.", when, code),
		Detail: c.ranFor() + "The start command was: " + quote(c.ev.Command) + ".", Next: "Read its last lines, correct what they name, and deploy again."}
	if at, m := c.last(uncaught); at >= 0 {
		c.shownBy, f.Detail = at, "It stopped on an error that nothing caught: "+cut(m[1])
	}
	return f
}
