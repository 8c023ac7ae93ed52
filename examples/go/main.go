// Command badges draws a picture for every name, always the same for the same one.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"html/template"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

const maxName = 40

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := page.Execute(w, name(r.URL.Query().Get("name"))); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("GET /badges/{file}", func(w http.ResponseWriter, r *http.Request) {
		name, isSVG := strings.CutSuffix(r.PathValue("file"), ".svg")
		if !isSVG || len(name) > 4*maxName {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "image/svg+xml")
		w.Header().Set("Cache-Control", "public, max-age=86400")
		if err := draw(w, name); err != nil {
			log.Print(err)
		}
	})
	return mux
}

// name is what was asked for, cut to maxName characters.
func name(asked string) string {
	runes := []rune(cmp.Or(strings.TrimSpace(asked), "Gopher"))
	return string(runes[:min(len(runes), maxName)])
}

func main() {
	if err := serve(":" + cmp.Or(os.Getenv("PORT"), "8080")); err != nil {
		log.Fatal(err)
	}
}

// serve answers until the program is asked to end, and finishes what it has begun.
func serve(address string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: address, Handler: routes(), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	log.Printf("Drawing badges at %s", address)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	return server.Shutdown(limit)
}
