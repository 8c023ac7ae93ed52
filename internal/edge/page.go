package edge

import (
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"
)

// Page is an answer of the edge itself: what happened, and what to do.
type Page struct {
	Status      int
	Title, Text string
	Reload      int // seconds after which a browser asks again; 0 for never
}

var (
	nothingHere     = Page{Status: http.StatusNotFound, Title: "Nothing runs at this address", Text: "No app answers here: its name may be misspelt, or the app was removed. If it is yours, open it in CodeRunner and deploy it."}
	stopped         = Page{Status: http.StatusServiceUnavailable, Title: "This app is stopped", Text: "Its owner has stopped it. If it is yours, open it in CodeRunner and start it."}
	unreachable     = Page{Status: http.StatusBadGateway, Title: "The app does not answer", Text: "There is an app at this address, but nothing answers where it should run: it may have crashed, or is just starting. Try again in a moment. If it is yours, its log in CodeRunner says why."}
	noProperAnswer  = Page{Status: http.StatusBadGateway, Title: "The app does not answer properly", Text: "There is an app at this address, but it broke off, or its answer was not one. Try again in a moment. If it is yours, its log in CodeRunner says why."}
	replaced        = Page{Status: http.StatusServiceUnavailable, Title: "A new version took over", Text: "The version that was answering was replaced before it was done. Try again: the new one answers."}
	headersTooLarge = Page{Status: http.StatusRequestHeaderFieldsTooLarge, Title: "The request's headers are too large", Text: "Most often these are cookies. Delete the cookies of this address in your browser and try again."}
	notAProxy       = Page{Status: http.StatusMethodNotAllowed, Title: "This is not a proxy for other addresses", Text: "Requests with CONNECT are not answered here."}
)

const pageHTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
%[3]s<title>%[1]s</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 20vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.25rem; margin: 0 0 .5rem; }
p { margin: 0; opacity: .75; }
</style>
</head>
<body>
<h1>%[1]s.</h1>
<p>%[2]s</p>
</body>
</html>
`

// Write answers with the page. Nothing of the request is in it.
func (p Page) Write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	reload := ""
	if p.Reload > 0 {
		h.Set("Retry-After", strconv.Itoa(p.Reload))
		if r.Method == http.MethodGet { // what was sent by a form must not be asked for
			reload = fmt.Sprintf("<meta http-equiv=\"refresh\" content=\"%d\">\n", p.Reload)
		}
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(p.Status)
		fmt.Fprintf(w, "%s.\n%s\n", p.Title, p.Text)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	w.WriteHeader(p.Status)
	fmt.Fprintf(w, pageHTML, html.EscapeString(p.Title), html.EscapeString(p.Text), reload)
}
