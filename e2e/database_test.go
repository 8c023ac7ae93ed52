package e2e

import (
	"os"
	"testing"

	"github.com/playwright-community/playwright-go"
)

// tellsDatabase answers whether it was given a database.
const tellsDatabase = `require("node:http").createServer((req, res) => res.end(process.env.DATABASE_URL ? "with a database" : "without a database")).listen(process.env.PORT);`

// TestADatabaseIsAttachedAndDetached with one click each, and the app that runs gets it and loses it.
func TestADatabaseIsAttachedAndDetached(t *testing.T) {
	t.Parallel()
	must(t, os.MkdirAll(screenshots, 0o755))
	root := folder(t, "shelf", map[string]string{"package.json": `{"name": "shelf", "scripts": {"start": "node index.js"}}`, "index.js": tellsDatabase})
	u, page := member(t, sharedServer(t))
	page.proposed(root, nil)
	page.deploy()
	page.ends("SUCCEEDED")
	address, err := page.Locator(".outcome-url").GetAttribute("href")
	must(t, err)
	u.says(address, "without a database")

	page.open("/projects")
	page.follow("shelf")
	page.follow("Databases")
	page.sees("[aria-label='No database']", "This project has no database")
	page.looked("databases-none")
	must(t, page.Locator("[aria-labelledby=offered] li").Filter(playwright.LocatorFilterOptions{HasText: "PostgreSQL 15"}).GetByRole("button").Click())
	page.ends("SUCCEEDED")
	page.sees(outcome, "The database is attached.")
	page.looked("run-attached")
	u.says(address, "with a database")

	page.follow("Open the databases")
	page.sees("[data-database] .names", "DATABASE_URL")
	page.looked("databases-attached")
	must(t, page.GetByLabel("Restart the app without it").Uncheck())
	page.press("Detach")
	page.ends("SUCCEEDED")
	page.sees(outcome, "The database is detached.")
	u.says(address, "with a database")

	page.follow("Open the databases")
	page.sees("[data-database] .state", "Detached")
	page.sees("[data-database] .pending", "Not applied yet.")
	page.looked("databases-detached")
	page.press("Restart")
	page.ends("SUCCEEDED")
	u.says(address, "without a database")

	page.open("/projects")
	page.follow("shelf")
	page.follow("Databases")
	page.follow("Delete…")
	page.looked("database-delete")
	page.fill("Type postgres-15 to confirm", "postgres-15")
	page.press("Delete the database")
	page.ends("SUCCEEDED")
	page.follow("Open the databases")
	page.sees("[aria-label='No database']", "This project has no database")
}
