package edge

import (
	"fmt"
	"html"
	"net/http"
	"strings"
)

// page is an answer of the edge itself: what happened, and what to do.
type page struct {
	status      int
	title, text string
}

var (
	nothingHere     = page{http.StatusNotFound, "Nothing runs at this address", "No app answers here: its name may be misspelt, or the app was removed. If it is yours, open it in CodeRunner and deploy it."}
	stopped         = page{http.StatusServiceUnavailable, "This app is stopped", "Its owner has stopped it. If it is yours, open it in CodeRunner and start it."}
	unreachable     = page{http.StatusBadGateway, "The app does not answer", "There is an app at this address, but nothing answers where it should run: it may have crashed, or is just starting. Try again in a moment. If it is yours, its log in CodeRunner says why."}
	noProperAnswer  = page{http.StatusBadGateway, "The app does not answer properly", "There is an app at this address, but it broke off, or its answer was not one. Try again in a moment. If it is yours, its log in CodeRunner says why."}
	replaced        = page{http.StatusServiceUnavailable, "A new version took over", "The version that was answering was replaced before it was done. Try again: the new one answers."}
	headersTooLarge = page{http.StatusRequestHeaderFieldsTooLarge, "The request's headers are too large", "Most often these are cookies. Delete the cookies of this address in your browser and try again."}
	notAProxy       = page{http.StatusMethodNotAllowed, "This is not a proxy for other addresses", "Requests with CONNECT are not answered here."}
)

const pageHTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>%[1]s</title>
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

// writePage answers for the edge itself. Nothing of the request is in it.
func writePage(w http.ResponseWriter, r *http.Request, page page) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(page.status)
		fmt.Fprintf(w, "%s.\n%s\n", page.title, page.text)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	w.WriteHeader(page.status)
	fmt.Fprintf(w, pageHTML, html.EscapeString(page.title), html.EscapeString(page.text))
}
