package coderunner

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of failure an Error is. One place (web and api each have
// one) maps kinds to HTTP statuses.
type Kind string

const (
	Invalid         Kind = "invalid"         // the request can never succeed as it is
	Unauthenticated Kind = "unauthenticated" // nobody is logged in, or the proof is wrong
	Forbidden       Kind = "forbidden"       // known who it is, and it may not
	NotFound        Kind = "not_found"       // does not exist, or belongs to somebody else
	Conflict        Kind = "conflict"        // the present state does not allow it
	TooLarge        Kind = "too_large"       // over a stated limit
	Throttled       Kind = "throttled"       // too many tries; later succeeds
	Unavailable     Kind = "unavailable"     // something we depend on is down; later succeeds
	Internal        Kind = "internal"        // a defect of ours
)

// Error is a kind and a sentence for the user: what happened, to what, and what
// to do next. Err, when set, is the cause; it is logged and never shown.
type Error struct {
	Kind    Kind
	Field   string // the form field or JSON member at fault, if one is
	Message string
	Err     error
	After   time.Duration // when to try again, of what succeeds later; 0 if nobody knows
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error whose sentence is formatted. A %w operand becomes the
// cause as well as part of the sentence; use Wrap to keep a cause private.
func Errorf(kind Kind, format string, args ...any) *Error {
	wrapped := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: wrapped.Error(), Err: errors.Unwrap(wrapped)}
}

// Wrap returns an Error that shows the sentence and hides err behind it.
func Wrap(err error, kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Err: err}
}

// FieldError returns an Invalid error about one field of a form.
func FieldError(field, format string, args ...any) *Error {
	return &Error{Kind: Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// KindOf returns the kind of the first Error in err's chain, Internal for any
// other error, and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// RetryAfter returns how long to wait before another try of what failed with err: whole
// seconds, a few if nobody knows better.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) && e.After > 0 {
		return (e.After + time.Second - 1).Truncate(time.Second)
	}
	return 5 * time.Second
}

// Sentence returns what a user may read about err: the message of the first
// Error in its chain, or a general sentence that gives nothing away.
func Sentence(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Kind != Internal {
		return e.Message
	}
	return "Something went wrong on our side. Try again; if it happens again, look up the request id in the server's log."
}
