package coderunner

import "io/fs"

// Sample is a small app that comes with CodeRunner and deploys with one click.
type Sample struct {
	Name        string // "express-postgres"; names it in addresses
	Title       string // "Guest book"; the project is called so
	Description string // one sentence
	Parts       []string
	Files       fs.FS // the source tree
}
