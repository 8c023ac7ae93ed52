// Package coderunner is the domain: the nouns of the product, their states and
// legal transitions, and the one error type that every layer speaks.
//
// It imports the standard library only; every other package imports it.
//
//	user ── owns ──> project ── has ──> deployment ── runs ──> bundle
//	                    │                   │
//	                    ├── database        └── run ── step ── log line
//	                    └── variable
//
// Identifiers are UUIDs in their canonical text form.
package coderunner
