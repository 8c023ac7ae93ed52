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

// FindSample answers the sample of that name: NotFound.
func FindSample(samples []Sample, name string) (Sample, error) {
	for _, sample := range samples {
		if sample.Name == name {
			return sample, nil
		}
	}
	return Sample{}, Errorf(NotFound, "There is no such sample.")
}
