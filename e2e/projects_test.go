package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

func TestOneOfManyProjectsIsFoundByKeyboard(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	account := map[string]string{"email": "many@example.com", "password": password}
	var login struct {
		Token string `json:"access_token"`
	}
	if status := s.call(t, http.MethodPost, "/auth/register", "", account, &login); status != http.StatusCreated {
		t.Fatalf("registering answers %d", status)
	}
	for i := range 100 {
		if status := s.call(t, http.MethodPost, "/projects", login.Token, map[string]string{"name": fmt.Sprintf("Many things %d", i)}, nil); status != http.StatusCreated {
			t.Fatalf("creating a project answers %d", status)
		}
	}
	page := visitor(t, s).tab()
	page.open("/login")
	page.fill("E-mail", account["email"])
	page.fill("Password", account["password"])
	page.submit("Log in")
	page.sees(".extent", "Projects 1 to 48 of 100")
	page.looked("projects-many")
	page.tabTo("Older")
	must(t, page.Keyboard().Press("Enter"))
	page.at("/projects\\?page=2$")
	page.sees(".pager", "Page 2 of 3")
	page.tabTo("Search your projects")
	must(t, page.Keyboard().Type("things 42"))
	must(t, page.Keyboard().Press("Enter"))
	page.sees(".extent", "1 project matches “things 42”.")
	page.sees("#projects", "Many things 42")
	page.looked("projects-found")
	page.open("/projects?q=nothing+like+it")
	page.sees("main .nothing", "nothing like it")
	page.looked("projects-not-found")
	page.follow("Show all projects")
	page.sees(".pager", "Page 1 of 3")
}
