package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge"
)

// What is asked of an edge and what it answers. Both ends may be of different
// versions of the program: what is here stays as it is, more may be added.
type (
	replaced struct {
		Revision int64         `json:"revision"` // that is served now
		Broken   []edge.Broken `json:"broken,omitempty"`
	}
	probe struct {
		Host string `json:"host"`
		Path string `json:"path"`
	}
	probed struct {
		Sandbox string `json:"sandbox"`
		Status  int    `json:"status"`
	}
	drain struct {
		Sandbox string `json:"sandbox"`
		Within  int64  `json:"within_ms"` // 0 for as long as the connection
	}
	refusal struct {
		Kind     coderunner.Kind `json:"kind"`
		Message  string          `json:"message"`
		Revision int64           `json:"revision,omitempty"` // of a table that is not older
	}
)

// controls is the table of what an edge can be asked, on its own socket only.
func (d *daemon) controls() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, d.status()) })
	mux.HandleFunc("GET /v1/alive", alive)
	mux.HandleFunc("PUT /v1/routes", d.putRoutes)
	mux.HandleFunc("POST /v1/probe", d.probe)
	mux.HandleFunc("POST /v1/drain", d.drain)
	mux.HandleFunc("POST /v1/handover", d.handOver)
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, _ *http.Request) {
		d.stop()
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

// alive has no end but the process's.
func alive(w http.ResponseWriter, r *http.Request) {
	if http.NewResponseController(w).Flush() == nil {
		<-r.Context().Done()
	}
}

func (d *daemon) putRoutes(w http.ResponseWriter, r *http.Request) {
	var told routes
	if !read(w, r, &told) {
		return
	}
	broken, err := d.table.replace(told)
	if errors.Is(err, errOlder) {
		revision, _ := d.table.state()
		refuse(w, http.StatusConflict, refusal{Kind: coderunner.Conflict, Message: err.Error(), Revision: revision})
		return
	}
	if err != nil { // served they are
		d.Log.Error("the routes are not kept for the next start", "err", err)
	}
	answer(w, replaced{told.Revision, broken})
}

func (d *daemon) probe(w http.ResponseWriter, r *http.Request) {
	var asked probe
	if !read(w, r, &asked) {
		return
	}
	sandbox, status, err := d.edge.Probe(r.Context(), asked.Host, asked.Path)
	if err != nil {
		refuse(w, http.StatusBadGateway, refusal{Kind: coderunner.Internal, Message: err.Error()})
		return
	}
	answer(w, probed{sandbox, status})
}

func (d *daemon) drain(w http.ResponseWriter, r *http.Request) {
	var asked drain
	if !read(w, r, &asked) {
		return
	}
	ctx := r.Context()
	if asked.Within > 0 {
		limited, cancel := context.WithTimeout(ctx, time.Duration(asked.Within)*time.Millisecond)
		defer cancel()
		ctx = limited
	}
	switch err := d.edge.Drain(ctx, asked.Sandbox); {
	case err == nil:
		answer(w, struct{}{})
	case coderunner.KindOf(err) == coderunner.Conflict:
		refuse(w, http.StatusConflict, refusal{Kind: coderunner.Conflict, Message: coderunner.Sentence(err)})
	default:
		refuse(w, http.StatusGatewayTimeout, refusal{Kind: coderunner.Unavailable, Message: err.Error()})
	}
}

// maxControlBytes bounds what is read for one request: some hundred thousand routes.
const maxControlBytes = 64 << 20

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBytes))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, refusal{Kind: coderunner.Invalid, Message: err.Error()})
	}
	return err == nil
}

func answer(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(what) // whoever asked may be gone
}

func refuse(w http.ResponseWriter, status int, why refusal) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(why)
}
