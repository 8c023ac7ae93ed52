// Package views renders CodeRunner's pages. A page is a struct that says
// everything it shows and a component of the same name that shows it:
//
//	ProjectsPage → Projects(page)
//
// Views know the domain and nothing else; they read no clock, no database and no
// request. Whatever text they are given is shown as text: names, file names and
// log lines come from strangers. No page has inline script or style, so that a
// policy of script-src 'self'; style-src 'self' holds.
package views

import "time"

// Section is the part of the product that the navigation marks as current.
type Section string

const (
	SectionProjects   Section = "projects"
	SectionAppliances Section = "appliances"
	SectionServer     Section = "server"
	SectionAccount    Section = "account"
)

// Frame is what every page has around its content.
type Frame struct {
	Title   string                   // of the document, without the product's name
	Email   string                   // of who is logged in; "" for a visitor
	Section Section                  // "" marks nothing
	Notice  string                   // about the server, for everybody, while it lasts
	Flash   *Flash                   // shown once, above the content
	Now     time.Time                // what relative times are relative to
	Asset   func(name string) string // address of a static file; see static.Path
}

// FlashKind says how a flash is shown.
type FlashKind string

const (
	FlashDone  FlashKind = "done"
	FlashError FlashKind = "error"
	FlashNote  FlashKind = "note"
)

// Flash is one sentence about what just happened.
type Flash struct {
	Kind FlashKind
	Text string
}

// asset answers the address of a static file.
func (f Frame) asset(name string) string {
	if f.Asset == nil {
		return "/static/" + name
	}
	return f.Asset(name)
}

// FieldErrors maps a form field's name to the sentence shown beside it. The
// key "" is about the form as a whole.
type FieldErrors map[string]string
