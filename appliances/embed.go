// Package appliances holds the definitions that CodeRunner ships with: one
// folder for each appliance, with an appliance.yaml and, where it needs any, a
// files directory that is copied over the root of its template. How a
// definition is written is told by package internal/appliance, which reads it.
package appliances

import "embed"

// FS has one directory for each appliance at its top.
//
//go:embed */appliance.yaml all:*/files
var FS embed.FS
