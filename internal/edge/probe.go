package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// probeTimeout bounds one probe.
const probeTimeout = 10 * time.Second

// Probe requests a path of a host as the world would, through our own listener,
// and tells which sandbox answered ("" if the edge itself did, for want of a route) and how.
// For a sandbox that does not answer, status is 502.
func (e *Edge) Probe(ctx context.Context, host, path string) (sandbox string, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	u, err := url.ParseRequestURI(path)
	if err != nil || !strings.HasPrefix(path, "/") {
		return "", 0, fmt.Errorf("the path to probe, %q, is not one", path)
	}
	u.Scheme, u.Host = "http", host
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", 0, fmt.Errorf("probing %s%s: %w", host, path, err)
	}
	req.Header.Set(probeHeader, e.token)
	req.Header.Set("User-Agent", "CodeRunner-Probe/1")
	address := e.Address()
	if address == "" {
		return "", 0, errors.New("the edge does not know its own address")
	}
	transport := &http.Transport{
		Proxy: nil, DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", address)
		},
	}
	res, err := transport.RoundTrip(req) // no redirects: any answer is an answer
	if err != nil {
		return "", 0, fmt.Errorf("probing %s%s: %w", host, path, err)
	}
	defer res.Body.Close()
	return res.Header.Get(sandboxHeader), res.StatusCode, nil
}
