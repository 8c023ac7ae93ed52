package diagnosis

import (
	"fmt"
	"regexp"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// goRules are what the Go toolchain and programs made with it say.
var goRules = []rule{
	{regexp.MustCompile(`no required module provides package ([^\s;:]+)|cannot find module providing package ([^\s;:]+)`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		pkg := cut(firstOf(m))
		return says("module.missing", fmt.Sprintf("The package %s is not in go.mod.", pkg), c.goPlace(), "Run go get "+pkg+" on your computer, and upload go.mod and go.sum.")
	}},
	{regexp.MustCompile(`package (\S+) is not in (?:GOROOT|std)`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		return says("module.file_missing", fmt.Sprintf("There is no package %s.", quote(m[1])), c.goPlace(), "Check its name, its capital letters, and that its folder was uploaded; packages of your own begin with the module's name in go.mod.")
	}},
	{regexp.MustCompile(`missing go\.sum entry for|updates to go\.mod needed|inconsistent vendoring`), func(*evidenceCase, []string) (coderunner.Failure, bool) {
		return says("install.lockfile", "go.sum does not match go.mod.", "What go.mod asks for is not recorded there.", "Run go mod tidy on your computer, and upload go.mod and go.sum together.")
	}},
	{regexp.MustCompile(`go\.mod requires go >= (\S+) \(running go (\S+?)[;)]|note: module requires Go (\S+)`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		want := cut(m[1] + m[3])
		f, ok := says("runtime.version", "The module asks for a newer Go.", "Wanted: "+want+".", "Choose a newer runtime in the plan if there is one, or lower the line go in go.mod.")
		f.Fixes = c.runtime(func(version string) bool { return !newer(want, version) })
		return f, ok
	}},
	{regexp.MustCompile(`^(?:\./)?(\S+\.go):(\d+):\d+: (.+)$`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		if c.ev.Step == "start" || c.ev.Step == "health" {
			return coderunner.Failure{}, false // a line of the program's own log
		}
		return says("go.compile", fmt.Sprintf("The code does not compile: %s:%s.", c.file(m[1]), m[2]), cut(m[3]), "Correct it and upload again.")
	}},
	{regexp.MustCompile(`dial tcp (?:\[?(127\.[\d.]+|::1)\]?):(\d+): connect: connection refused`), tellLocalService},
	{regexp.MustCompile(`dial tcp: lookup ([^\s:]+)(?: on \S+)?: (?:no such host|server misbehaving)`), tellUnknownHost},
	{regexp.MustCompile(`listen tcp (\S+): bind: address already in use`), tellAddressInUse},
	{regexp.MustCompile(`listen tcp (\S+): bind: permission denied`), tellLowPort},
	{regexp.MustCompile(`pq: password authentication failed for user "([^"]*)"`), refusedLogin(coderunner.PostgreSQL)},
}

var goImport = regexp.MustCompile(`^(\S+\.go:\d+):\d+: `)

// goPlace says where the line that shows the cause has its import.
func (c *evidenceCase) goPlace() string {
	if m := goImport.FindStringSubmatch(c.plain[c.shownBy]); m != nil {
		return "It is imported in " + c.file(m[1]) + "."
	}
	return ""
}
