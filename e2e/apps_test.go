package e2e

import (
	"fmt"
	"testing"
)

// hello is an app without dependencies that answers with a word.
func hello(t *testing.T, name, word string) string {
	t.Helper()
	return folder(t, name, map[string]string{
		"package.json": fmt.Sprintf(`{"name": %q, "version": "1.0.0", "scripts": {"start": "node index.js"}}`, name),
		"index.js":     fmt.Sprintf("require('node:http').createServer((request, response) => response.end(%q)).listen(process.env.PORT);\n", word),
	})
}

// proposed uploads a folder, waits for its plan and changes fields of it.
func (p *tab) proposed(folder string, fields map[string]string) {
	p.t.Helper()
	p.drop(folder)
	p.plan()
	for field, value := range fields {
		must(p.t, p.Locator("#"+field).Fill(value))
	}
}

// says waits until an app's address answers with a word.
func (u *user) says(address, word string) {
	u.t.Helper()
	page := u.tab()
	defer page.Close()
	if status := page.open(address); status != 200 {
		u.t.Fatalf("%s answers %d", address, status)
	}
	page.sees("body", word)
}

// address answers the URL that a run that succeeded shows.
func (p *tab) address() string {
	p.t.Helper()
	address, err := p.Locator(".outcome-url").GetAttribute("href")
	must(p.t, err)
	return address
}
