package examples

import (
	"io/fs"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Samples are all examples, in the order in which the dashboard shows them.
func Samples() []coderunner.Sample {
	samples := []coderunner.Sample{
		{Name: "express-postgres", Title: "Guest book", Description: "Sign it, and PostgreSQL keeps what you wrote.", Parts: []string{"Express", "PostgreSQL"}},
		{Name: "next", Title: "Palette", Description: "Five colours for any word, rendered on the server.", Parts: []string{"Next.js"}},
		{Name: "fastapi-postgres", Title: "Reading list", Description: "Books to read and books read, with a described API.", Parts: []string{"FastAPI", "PostgreSQL"}},
		{Name: "fastify-redis", Title: "Poll", Description: "Tea or coffee? Redis counts the votes.", Parts: []string{"Fastify", "Redis"}},
		{Name: "vite-react", Title: "Cook book", Description: "A single-page app whose links work from outside.", Parts: []string{"React", "Vite"}},
		{Name: "django-postgres", Title: "Window garden", Description: "Which plant was watered when, with a migration.", Parts: []string{"Django", "PostgreSQL"}},
		{Name: "procfile-worker", Title: "Word counter", Description: "A page takes texts, a worker beside it counts.", Parts: []string{"Procfile", "PostgreSQL"}},
		{Name: "manifest-postgres", Title: "Book club", Description: "One file becomes a REST API with an admin panel.", Parts: []string{"Manifest", "PostgreSQL"}},
		{Name: "go", Title: "Badges", Description: "A picture for every name, with the standard library alone.", Parts: []string{"Go"}},
		{Name: "astro", Title: "Field journal", Description: "Markdown becomes pages, and files are all that is served.", Parts: []string{"Astro"}},
		{Name: "nest", Title: "Task board", Description: "What is to do, what is being done, what is done.", Parts: []string{"NestJS"}},
		{Name: "flask", Title: "Maze", Description: "A labyrinth for every word, drawn as an SVG.", Parts: []string{"Flask"}},
		{Name: "pnpm-workspace", Title: "Dice table", Description: "An app and the package that it shares code with.", Parts: []string{"pnpm workspace", "Hono"}},
		{Name: "manifest-sqlite", Title: "Lost and found", Description: "A backend in one file that needs no database server.", Parts: []string{"Manifest", "SQLite"}},
		{Name: "static", Title: "Quiet minute", Description: "A breathing exercise of two pages and a script.", Parts: []string{"Static files"}},
		{Name: "node-hello", Title: "Hello", Description: "No dependencies: the fastest way to a URL.", Parts: []string{"Node.js"}},
	}
	for i := range samples {
		files, err := fs.Sub(FS, samples[i].Name)
		if err != nil {
			panic(err) // the names are part of the program
		}
		samples[i].Files = module{files}
	}
	return samples
}

// moduleFile is what go.mod is called here: a folder that has one is a module of its own,
// of which Go embeds nothing.
const moduleFile = "go.mod.txt"

// module is a tree with moduleFile, if it has one, in its place.
type module struct{ fs.FS }

// Open implements fs.FS.
func (m module) Open(name string) (fs.File, error) {
	if name == "go.mod" {
		name = moduleFile
	}
	file, err := m.FS.Open(name)
	if dir, ok := file.(fs.ReadDirFile); ok {
		return moduleDir{dir}, err
	}
	return file, err
}

type moduleDir struct{ fs.ReadDirFile }

// ReadDir implements fs.ReadDirFile.
func (d moduleDir) ReadDir(n int) ([]fs.DirEntry, error) {
	entries, err := d.ReadDirFile.ReadDir(n)
	for i, entry := range entries {
		if entry.Name() == moduleFile {
			entries[i] = moduleEntry{entry}
		}
	}
	return entries, err
}

type moduleEntry struct{ fs.DirEntry }

func (moduleEntry) Name() string { return "go.mod" }
