package edge

import (
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
)

// sessionCookie is the dashboard's. It is a key to the owner's account and none of an app's business.
const sessionCookie = "coderunner_session"

const (
	probeHeader   = "Coderunner-Probe"   // request: the token of this process
	sandboxHeader = "Coderunner-Sandbox" // answer to a probe: who answered
)

// originHeaders are those by which proxies tell where a request came from,
// besides all that begin with X-Forwarded. Apps believe them.
var originHeaders = map[string]bool{
	"Forwarded": true, "X-Real-Ip": true, "X-Client-Ip": true, "X-Cluster-Client-Ip": true, "X-Original-Forwarded-For": true,
	"X-Original-Host": true, "X-Original-Url": true, "X-Rewrite-Url": true, "X-Host": true, "X-Scheme": true, "X-Url-Scheme": true,
	"True-Client-Ip": true, "Cf-Connecting-Ip": true, "Fastly-Client-Ip": true, "Front-End-Https": true, "X-Remote-Addr": true,
}

// rewrite makes the request that the app gets.
func (e *Edge) rewrite(p *httputil.ProxyRequest, address string) {
	in, out := p.In, p.Out
	out.URL.Scheme, out.URL.Host = "http", address
	out.URL.RawQuery = in.URL.RawQuery // as it was sent: nothing here depends on how it is read
	for name := range out.Header {
		// Some servers read X_Real_IP as X-Real-IP.
		plain := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if originHeaders[plain] || strings.HasPrefix(plain, "X-Forwarded-") || strings.HasPrefix(plain, "Coderunner-") {
			delete(out.Header, name)
		}
	}
	p.SetXForwarded()
	if e.scheme != "" {
		out.Header.Set("X-Forwarded-Proto", e.scheme)
	}
	if _, port, err := net.SplitHostPort(in.Host); err == nil {
		out.Header.Set("X-Forwarded-Port", port)
	} else if out.Header.Get("X-Forwarded-Proto") == "https" {
		out.Header.Set("X-Forwarded-Port", "443")
	} else {
		out.Header.Set("X-Forwarded-Port", "80")
	}
	if peer, _, err := net.SplitHostPort(in.RemoteAddr); err == nil {
		out.Header.Set("X-Real-Ip", peer)
	}
	withoutCookie(out.Header, sessionCookie)
	// Within another protocol, such as h2c, requests would pass that were not looked at.
	if up := out.Header.Get("Upgrade"); up != "" && !strings.EqualFold(up, "websocket") {
		out.Header.Del("Upgrade")
		out.Header.Del("Connection")
	}
}

// withoutCookie removes one cookie and leaves the others byte for byte.
func withoutCookie(h http.Header, name string) {
	var kept []string
	for _, line := range h["Cookie"] {
		var pairs []string
		for pair := range strings.SplitSeq(line, ";") {
			if !strings.EqualFold(cookieName(pair), name) && strings.TrimSpace(pair) != "" {
				pairs = append(pairs, strings.TrimSpace(pair))
			}
		}
		if len(pairs) > 0 {
			kept = append(kept, strings.Join(pairs, "; "))
		}
	}
	if len(kept) == 0 {
		h.Del("Cookie")
		return
	}
	h["Cookie"] = kept
}

// cookieName is the name under which a server will read the pair. Browsers store
// "=name=value" without a name and send it back as "name=value".
func cookieName(pair string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(pair, "= \t"), "=")
	return strings.TrimSpace(name)
}

// answer cleans what the app says before the world sees it.
func (t *target) answer(res *http.Response) error {
	v := visitOf(res.Request.Context())
	cleanAnswer(res.Header, v.host)
	if v.probe {
		res.Header.Set(sandboxHeader, t.sandbox)
	}
	return nil
}

// cleanAnswer removes from an answer what would reach beyond the app's own host.
func cleanAnswer(h http.Header, host string) {
	for name := range h {
		if strings.HasPrefix(http.CanonicalHeaderKey(name), "Coderunner-") {
			delete(h, name)
		}
	}
	h.Del("Alt-Svc") // where the app is reached is ours to say
	if cookies, ok := h["Set-Cookie"]; ok {
		var kept []string
		for _, c := range cookies {
			if c, ok := ownCookie(c, host); ok {
				kept = append(kept, c)
			}
		}
		h.Del("Set-Cookie")
		if len(kept) > 0 {
			h["Set-Cookie"] = kept
		}
	}
	cleanSiteData(h)
}

// ownCookie makes a cookie the app's own: without a Domain that other hosts are
// in, the browser keeps it for the host that set it. The dashboard's is refused.
func ownCookie(cookie, host string) (string, bool) {
	parts := strings.Split(cookie, ";")
	if strings.EqualFold(cookieName(parts[0]), sessionCookie) {
		return "", false
	}
	kept := parts[:1]
	for _, attribute := range parts[1:] {
		name, value, _ := strings.Cut(attribute, "=")
		if strings.EqualFold(strings.TrimSpace(name), "domain") {
			domain := strings.ToLower(strings.TrimPrefix(strings.TrimSpace(value), "."))
			if domain != host {
				continue
			}
		}
		kept = append(kept, attribute)
	}
	return strings.Join(kept, ";"), true
}

// cleanSiteData lets an app clear what is its own. Cookies are cleared for the
// whole registered domain, and the dashboard's with them.
func cleanSiteData(h http.Header) {
	values, ok := h["Clear-Site-Data"]
	if !ok {
		return
	}
	h.Del("Clear-Site-Data")
	var kept []string
	for directive := range strings.SplitSeq(strings.Join(values, ","), ",") {
		switch directive = strings.TrimSpace(directive); directive {
		case `"cache"`, `"storage"`, `"executionContexts"`:
			kept = append(kept, directive)
		case `"*"`:
			kept = append(kept, `"cache"`, `"storage"`, `"executionContexts"`)
		}
	}
	if len(kept) > 0 {
		h.Set("Clear-Site-Data", strings.Join(kept, ", "))
	}
}

// earlyAnswers cleans the headers of interim answers, such as 103, which pass
// the proxy without being shown to ModifyResponse.
type earlyAnswers struct {
	http.ResponseWriter
	host string
}

func (w *earlyAnswers) WriteHeader(status int) {
	if status < http.StatusOK {
		cleanAnswer(w.Header(), w.host)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap gives http.ResponseController the way to Flush and Hijack.
func (w *earlyAnswers) Unwrap() http.ResponseWriter { return w.ResponseWriter }
