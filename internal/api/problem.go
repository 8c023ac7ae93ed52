package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const problemType = "application/problem+json"

// Problem is what went wrong, as RFC 9457 has it.
type Problem struct {
	Type      string       `json:"type" example:"about:blank" doc:"Always about:blank: the kind tells problems apart."`
	Title     string       `json:"title" example:"Conflict" doc:"The status in words."`
	Status    int          `json:"status" example:"409"`
	Detail    string       `json:"detail" doc:"What happened, to what, and what to do next, for a person to read."`
	Kind      string       `json:"kind,omitempty" enum:"invalid,unauthenticated,forbidden,not_found,conflict,too_large,throttled,unavailable,internal"`
	RequestID string       `json:"request_id" doc:"Names the request in the server's log."`
	Errors    []FieldError `json:"errors,omitempty" nullable:"false" doc:"The parts of the request that are at fault, if it is parts."`

	retryAfter time.Duration
}

// FieldError is what is wrong with one part of a request.
type FieldError struct {
	Field   string `json:"field" example:"email" doc:"A member of the body, by its path, or a parameter."`
	Message string `json:"message"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return problemType }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	header := http.Header{}
	switch p.Status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="coderunner"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(int(p.retryAfter/time.Second)))
	}
	return header
}

func newProblem(ctx context.Context, status int, kind coderunner.Kind, detail string) *Problem {
	return &Problem{retryAfter: coderunner.RetryAfter(nil), Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Kind: string(kind), RequestID: visitOf(ctx).id}
}

// statusOf is the one place that maps kinds to HTTP statuses.
func statusOf(kind coderunner.Kind) int {
	switch kind {
	case coderunner.Invalid:
		return http.StatusUnprocessableEntity
	case coderunner.Unauthenticated:
		return http.StatusUnauthorized
	case coderunner.Forbidden:
		return http.StatusForbidden
	case coderunner.NotFound:
		return http.StatusNotFound
	case coderunner.Conflict:
		return http.StatusConflict
	case coderunner.TooLarge:
		return http.StatusRequestEntityTooLarge
	case coderunner.Throttled:
		return http.StatusTooManyRequests
	case coderunner.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// problem makes a document of an error, and logs what is our own fault.
func (s *server) problem(ctx context.Context, err error) *Problem {
	kind := coderunner.KindOf(err)
	p := newProblem(ctx, statusOf(kind), kind, coderunner.Sentence(err))
	p.retryAfter = coderunner.RetryAfter(err)
	var e *coderunner.Error
	if errors.As(err, &e) && e.Field != "" {
		p.Errors = []FieldError{{Field: e.Field, Message: e.Message}}
	}
	if list := (variablesError{}); errors.As(err, &list) {
		p.Errors = list.fields
	}
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled): // the client left
	case p.Status >= http.StatusInternalServerError:
		s.Log.Error("a request failed", "request", p.RequestID, "status", p.Status, "err", err)
	}
	return p
}

// write answers a request with an error where no operation does.
func (s *server) write(w http.ResponseWriter, r *http.Request, err error) {
	s.writeProblem(w, s.problem(r.Context(), err))
}

func (s *server) writeProblem(w http.ResponseWriter, p *Problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	if err := json.NewEncoder(w).Encode(p); err != nil {
		s.Log.Debug("a problem could not be told", "request", p.RequestID, "err", err)
	}
}

// asProblem puts our document in place of huma's own, which repeats the values it
// refuses; one may be a password.
func asProblem(ctx huma.Context, _ string, body any) (any, error) {
	model, ok := body.(*huma.ErrorModel)
	if !ok {
		return body, nil
	}
	p := newProblem(ctx.Context(), model.Status, coderunner.Invalid, "")
	switch model.Status {
	case http.StatusRequestEntityTooLarge:
		p.Kind, p.Detail = string(coderunner.TooLarge), fmt.Sprintf("The request's body is over the limit of %d KiB.", ctx.Operation().MaxBodyBytes>>10)
	case http.StatusRequestTimeout:
		p.Kind, p.Detail = string(coderunner.Unavailable), "The request's body did not arrive in time. Send it again."
	case http.StatusUnsupportedMediaType:
		p.Detail = "The request's body has a type that is not understood. Send application/json."
	case http.StatusInternalServerError:
		p.Kind, p.Detail = string(coderunner.Internal), coderunner.Sentence(model)
	default:
		for _, e := range model.Errors {
			if e != nil {
				p.Errors = append(p.Errors, FieldError{Field: strings.TrimPrefix(strings.TrimPrefix(e.Location, "body."), "query."), Message: e.Message})
			}
		}
		p.Detail = detailOf(model.Detail, p.Errors)
	}
	return p, nil
}

// detailOf makes a sentence of what the description of the API does not allow.
func detailOf(general string, faults []FieldError) string {
	if len(faults) == 0 {
		return "The request cannot be understood: " + general + "."
	}
	texts := make([]string, len(faults))
	for i, f := range faults {
		texts[i] = f.Message
		if f.Field != "" && f.Field != "body" {
			texts[i] = f.Field + ": " + f.Message
		}
	}
	return "The request is not as the API's description has it: " + strings.Join(texts, "; ") + "."
}
