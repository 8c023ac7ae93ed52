package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	answer := httptest.NewRecorder()
	routes().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer.Code, answer.Body.String()
}

func TestBadgesDifferByNameAlone(t *testing.T) {
	_, ada := get(t, "/badges/Ada.svg")
	_, again := get(t, "/badges/Ada.svg")
	_, grace := get(t, "/badges/Grace.svg")
	if ada != again || ada == grace || !strings.HasPrefix(ada, "<svg ") {
		t.Errorf("Ada has %q, then %q, and Grace %q", ada, again, grace)
	}
}

func TestThePageEscapesNames(t *testing.T) {
	status, body := get(t, "/?name=%3Cb%3E%22")
	if status != http.StatusOK || strings.Contains(body, "<b>") || !strings.Contains(body, "/badges/%3cb%3e%22.svg") {
		t.Errorf("it answers %d %s", status, body)
	}
}

func TestWhatIsNoBadge(t *testing.T) {
	for _, path := range []string{"/badges/Ada.png", "/badges/" + strings.Repeat("a", 200) + ".svg", "/nothing"} {
		if status, _ := get(t, path); status != http.StatusNotFound {
			t.Errorf("%s answers %d", path, status)
		}
	}
}
