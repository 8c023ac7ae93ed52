package coderunner

import "time"

// Bundle is one uploaded source tree. It never changes; its SHA-256 is its address.
type Bundle struct {
	ID            string
	ProjectID     string
	SHA256        string // lower-case hex of the canonical tar that is stored
	Filename      string // what the user dropped; shown as text only
	SizeBytes     int64  // stored
	ExpandedBytes int64  // the sum of its files
	Files         int
	Omitted       []string // what the upload left out, e.g. "node_modules/"
	Plan          Plan     // what the analyzer said about it
	CreatedAt     time.Time
}
