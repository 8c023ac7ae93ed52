package analyzer

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func quoted(text string) string {
	data, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// checkOneWarning expects one warning that has this text, or none for "".
func checkOneWarning(t *testing.T, name string, warnings []string, want string) {
	t.Helper()
	if want == "" && len(warnings) == 0 || want != "" && len(warnings) == 1 && strings.Contains(warnings[0], want) {
		return
	}
	t.Errorf("%s: warnings %q, want one with %q", name, warnings, want)
}

func TestUnreadablePackageJSON(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		content string
		kind    coderunner.Kind
		want    string
	}{
		"trailing comma": {"{\n  \"scripts\": {\n    \"start\": \"node é.js\",\n  }\n}", coderunner.Invalid,
			"package.json is not valid JSON: line 4, column 3: invalid character '}' looking for beginning of object key string. Comments and a comma after the last entry are not allowed there."},
		"column counts characters": {`{"é": "é" x}`, coderunner.Invalid,
			"package.json is not valid JSON: line 1, column 11: invalid character 'x' after object key:value pair. Comments and a comma after the last entry are not allowed there."},
		"cut off": {"{\n\"main\": ", coderunner.Invalid,
			"package.json is not valid JSON: line 2, column 9: unexpected end of JSON input. Comments and a comma after the last entry are not allowed there."},
		"empty":  {" \n", coderunner.Invalid, "package.json is empty. Run npm init, or remove the file if there is nothing to install."},
		"a list": {"[]", coderunner.Invalid, "package.json does not hold an object: it must begin with {."},
		"UTF-16": {"\xff\xfe{\x00}\x00", coderunner.Invalid, "package.json is stored as UTF-16, which npm cannot read. Save it as UTF-8."},
		"too large": {`{"a": "` + strings.Repeat("x", 1<<20) + `"}`, coderunner.TooLarge,
			"package.json is larger than 1024 KiB. A package.json of that size cannot be right; check what was written into it."},
		"deep": {strings.Repeat(`{"a":`, 200_000), coderunner.Invalid,
			"package.json is not valid JSON: line 1, column 50001: invalid character '{' exceeded max depth. Comments and a comma after the last entry are not allowed there."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkSentence(t, files("package.json", test.content, "index.js", ""), test.kind, test.want)
		})
	}
	checkSentence(t, files("site/package.json", "{]"), coderunner.Invalid,
		"site/package.json is not valid JSON: line 1, column 2: invalid character ']' looking for beginning of object key string. Comments and a comma after the last entry are not allowed there.")
}

func TestInvalidUTF8IsReplaced(t *testing.T) {
	t.Parallel()
	plan, err := Analyze(files("package.json", "{\"scripts\": {\"start\": \"node \xff.js\"}}"))
	if err != nil {
		t.Fatal(err)
	}
	if plan.Start.Value != "node �.js" {
		t.Errorf("start is %q", plan.Start.Value)
	}
	checkOneWarning(t, "invalid UTF-8", plan.Warnings, "package.json is not valid UTF-8")
}

// Files made to be slow end in a plan or a sentence, and soon: a second is plenty on an idle machine.
func TestHostilePackageJSON(t *testing.T) {
	t.Parallel()
	scripts := `"start": "npm run a0"`
	for i := range 40 {
		next := "npm run a" + string(rune('0'+i%10+1))
		scripts += `, "a` + string(rune('0'+i%10)) + `": "` + next + " && " + next + `"`
	}
	for name, content := range map[string]string{
		"one key very often":     "{" + strings.Repeat(`"main":"",`, 100_000) + `"main": "index.js"}`,
		"one script very often":  `{"scripts": {` + strings.Repeat(`"x":1,`, 170_000) + `"start": "node ."}}`,
		"many scripts":           `{"scripts": {` + strings.Repeat("\"start\":\"\",\n", 80_000) + `"start": "node ."}}`,
		"deep value":             `{"x": ` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
		"deeper than allowed":    `{"x": ` + strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000) + `}`,
		"scripts that multiply":  `{"scripts": {` + scripts + `}}`,
		"script naming itself":   `{"scripts": {"start": "npm start", "prestart": "npm run prestart"}}`,
		"long script":            `{"scripts": {"start": "` + strings.Repeat("a && ", 200_000) + `b"}}`,
		"long engines":           `{"engines": {"node": "` + strings.Repeat(">=", 500_000) + `"}}`,
		"long alternatives":      `{"engines": {"node": "` + strings.Repeat("1||", 300_000) + `"}}`,
		"long packageManager":    `{"packageManager": "` + strings.Repeat("@", 1_000_000) + `"}`,
		"long main":              `{"main": "` + strings.Repeat("a/", 500_000) + `"}`,
		"backslashes":            `{"main": "` + strings.Repeat(`\\`, 500_000) + `"}`,
		"huge exponent":          `{"main": 1e999999999, "scripts": 1e-9}`,
		"lone surrogate":         `{"main": "\ud800", "scripts": {"start": "node \udc00"}}`,
		"NUL in start":           `{"scripts": {"start": "node \u0000"}}`,
		"null everywhere":        `{"main": null, "scripts": null, "engines": null, "workspaces": null, "packageManager": null}`,
		"empty keys":             `{"": "", "scripts": {"": "", "start": " "}}`,
		"prototype keys":         `{"__proto__": {"scripts": {"start": "x"}}, "constructor": 1}`,
		"workspaces are nothing": `{"workspaces": [], "main": ""}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer soon(t)()
			plan, err := Analyze(files("package.json", content, "index.js", ""))
			checkSane(t, plan, err)
		})
	}
}

// checkSane expects what holds for every tree: a plan that can be corrected, or a sentence.
func checkSane(t *testing.T, plan coderunner.Plan, err error) {
	t.Helper()
	if err != nil {
		var sentence *coderunner.Error
		if !errors.As(err, &sentence) || sentence.Kind != coderunner.Invalid && sentence.Kind != coderunner.TooLarge {
			t.Errorf("not a sentence for the user: %v", err)
		} else if len(sentence.Message) > 1000 {
			t.Errorf("a sentence of %d bytes", len(sentence.Message))
		}
		return
	}
	if plan.Type == "" && len(plan.Warnings) == 0 || plan.Type != "" && !plan.Starts() && len(plan.Warnings) == 0 {
		t.Errorf("a plan that cannot run says nothing: %s", text(t, plan))
	}
	if plan.Start.Value != "" {
		if err := plan.Check(); err != nil {
			t.Errorf("the plan cannot be deployed: %v", err)
		}
	}
	for _, warning := range plan.Warnings {
		if len(warning) > 2000 {
			t.Errorf("a warning of %d bytes", len(warning))
		}
	}
}

func FuzzPackageJSON(f *testing.F) {
	for _, seed := range []string{
		`{"main": "index.js", "scripts": {"prestart": "a; b", "start": "npm run x", "x": "nodemon -w src index.js", "build": "vite build"}}`,
		`{"packageManager": "pnpm@8.15.9+sha512.x", "engines": {"node": "^18 || >=20 <22", "yarn": "1"}, "workspaces": ["a", "b"]}`,
		`{"dependencies": {"pg": "8", "mysql2": "1", "fastify": 4}, "volta": {"node": "18.1.2"}}`,
		"\ufeff{}", "[", `{"a":{"a":{"a":[]}}}`, "{\"scripts\":{\"start\":\"\\u0000\"}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		tree := files("package.json", string(content), "index.js", "app.listen(3000)")
		plan, err := Analyze(tree)
		checkSane(t, plan, err)
		again, _ := Analyze(tree)
		if text(t, plan) != text(t, again) {
			t.Error("two analyses of one tree differ")
		}
	})
}
