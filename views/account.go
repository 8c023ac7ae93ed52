package views

import (
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// AccountPage shows who is logged in, and where.
type AccountPage struct {
	Frame
	User     coderunner.User
	Sessions []Session // newest first
}

// Session is one browser that is logged in.
type Session struct {
	ID         string // names the session in POST /account/sessions/{id}/revoke; not the cookie's secret
	UserAgent  string
	Peer       string // network address
	CreatedAt  time.Time
	LastSeenAt time.Time
	Current    bool // the one that asks
}

// browser makes a few words out of a User-Agent header, or answers the header
// itself, shortened, when it knows neither browser nor system.
func browser(agent string) string {
	find := func(words ...[2]string) string {
		for _, word := range words {
			if strings.Contains(agent, word[0]) {
				return word[1]
			}
		}
		return ""
	}
	name := find([2]string{"Edg/", "Edge"}, [2]string{"OPR/", "Opera"}, [2]string{"Firefox/", "Firefox"},
		[2]string{"Chrome/", "Chrome"}, [2]string{"Safari/", "Safari"}, [2]string{"curl/", "curl"})
	system := find([2]string{"Android", "Android"}, [2]string{"iPhone", "iPhone"}, [2]string{"iPad", "iPad"},
		[2]string{"Windows", "Windows"}, [2]string{"Mac OS X", "macOS"}, [2]string{"Linux", "Linux"})
	switch {
	case name != "" && system != "":
		return name + " on " + system
	case name != "":
		return name
	case agent == "":
		return "An unnamed program"
	}
	runes := []rune(agent)
	if len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	return agent
}
