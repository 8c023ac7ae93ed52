package web

import (
	"net/http"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/stream"
	"github.com/coderunner/coderunner/views"
)

// server shows what the machine stores in all, and how much room it has, and what it runs on. Nothing on
// the page belongs to anybody by name.
func (s *site) server(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page := views.ServerPage{Frame: s.frame("Server", views.SectionServer, user), Sources: s.Sources}
	if s.Disk != nil {
		page.Disk = s.Disk()
	}
	if s.Machine != nil {
		page.Machine = s.Machine(r.Context())
	}
	return s.render(w, r, http.StatusOK, views.Server(page))
}

// testGap is the time between the two events of liveTest; static/js/gap.js knows it.
const testGap = time.Second

// liveTest is a stream of two events, by which a page finds out whether something on
// the way holds back what is written. It is over too soon to take one of the user's places.
func (s *site) liveTest(w http.ResponseWriter, r *http.Request, _ coderunner.User) error {
	out := stream.Open(w, stream.Events, s.WriteTimeout)
	defer out.Close()
	if r.Method == http.MethodHead || out.Begin("event: first\ndata: 1\n\n") != nil {
		return nil
	}
	select {
	case <-time.After(testGap):
		_ = out.Write([]byte("event: second\ndata: 2\n\n")) // whoever has gone does not need it
	case <-r.Context().Done():
	}
	return nil
}
