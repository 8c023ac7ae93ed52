package analyzer

import (
	"path"
	"slices"
	"strings"
)

// unwrap returns the directory that the project begins in: root, or, where
// root holds nothing but one folder, that folder, as archives often do.
func (t *tree) unwrap(root string) (string, error) {
	for range maxDepth {
		l, err := t.list(root)
		if err != nil {
			return "", err
		}
		if slices.ContainsFunc(l.files, func(name string) bool { return !isBystander(name) }) {
			return root, nil
		}
		dirs := slices.DeleteFunc(slices.Clone(l.dirs), isBystander)
		if len(dirs) != 1 {
			return root, nil
		}
		root = path.Join(root, dirs[0])
	}
	return root, nil
}

// isBystander reports whether a file or folder says nothing about where a project begins.
func isBystander(name string) bool {
	lower := strings.ToLower(name)
	switch lower {
	case "__macosx", "thumbs.db", "desktop.ini", "node_modules", "docs":
		return true
	}
	if strings.HasPrefix(lower, ".") {
		return true
	}
	stem := strings.TrimSuffix(lower, path.Ext(lower))
	switch stem {
	case "readme", "license", "licence", "copying", "changelog", "contributing", "notice", "authors", "security", "code_of_conduct":
		return true
	}
	return false
}

// isOutside reports whether a folder holds no source of the project itself.
func isOutside(dir string) bool {
	switch strings.ToLower(dir) {
	case "node_modules", "bower_components", "__macosx", "vendor", "dist", "build", "out", "coverage", "tmp", "temp":
		return true
	}
	return strings.HasPrefix(dir, ".")
}

// foreignProject names a kind of project that cannot be deployed, and the file that says that a directory holds one.
func foreignProject(top listing) (kind, evidence string) {
	for _, sign := range []struct{ kind, files string }{
		{"a Ruby project", "Gemfile config.ru"},
		{"a PHP project", "composer.json index.php"},
		{"a Java project", "pom.xml build.gradle build.gradle.kts"},
		{"a Rust project", "Cargo.toml"},
		{"an Elixir project", "mix.exs"},
		{"a Deno project", "deno.json deno.jsonc"},
	} {
		for _, name := range strings.Fields(sign.files) {
			if top.hasFile(name) {
				return sign.kind, name
			}
		}
	}
	return "", ""
}
