package coderunner

// Part is one of the programs that the platform is made of and runs on, as it is now.
type Part struct {
	Name    string // in words: "PostgreSQL"
	Version string // "" if it could not be told
	Trouble string // a sentence about what is not well and what to do, "" for nothing
}
