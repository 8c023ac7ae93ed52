package containerd

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// plainSources is what every template says about where its packages come from.
// The machine's own sources do not go into a template: their addresses may hold
// a password, and mean nothing to the sandbox.
func plainSources(suite string) string { return sourcesAt("http://deb.debian.org/debian", suite) }

// sourcesAt are the suite's in a mirror of Debian's archive. As at Debian's own, the
// archive of security updates is beside the main one.
func sourcesAt(mirror, suite string) string {
	stanza := "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: " + debianKeyring + "\n"
	return fmt.Sprintf(stanza, mirror, suite+" "+suite+"-updates") + "\n" +
		fmt.Sprintf(stanza, mirror+"-security", suite+"-security")
}

// hostSources is where this machine gets the suite's packages: the entries of
// its own apt for Debian's main archive, so that a mirror that is configured is used.
// It answers files by name, in both formats of apt, and plainSources if there is no such entry.
func hostSources(aptDir, suite string) (map[string]string, error) {
	sources := map[string]string{}
	files, err := filepath.Glob(filepath.Join(aptDir, "sources.list.d", "*"))
	if err != nil {
		return nil, err
	}
	sort.Strings(files)
	var lines, stanzas []string
	archive := false
	for _, file := range append([]string{filepath.Join(aptDir, "sources.list")}, files...) {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var found []string
		switch filepath.Ext(file) {
		case ".list":
			found = oneLineSources(string(text), suite)
			lines = append(lines, found...)
		case ".sources":
			found = stanzaSources(string(text), suite)
			stanzas = append(stanzas, found...)
		}
		for _, source := range found {
			archive = archive || slices.Contains(strings.Fields(source), suite)
		}
	}
	if !archive { // without the release itself its updates are of no use
		return map[string]string{"debian.sources": plainSources(suite)}, nil
	}
	if len(lines) > 0 {
		sources["debian.list"] = strings.Join(lines, "\n") + "\n"
	}
	if len(stanzas) > 0 {
		sources["debian.sources"] = strings.Join(stanzas, "\n\n") + "\n"
	}
	return sources, nil
}

// isDebianSuite says whether an entry is about the release, and not, say, about its backports.
func isDebianSuite(name, suite string) bool {
	return name == suite || name == suite+"-updates" || name == suite+"-security"
}

// isDebianArchive tells Debian's mirrors from the archives of others that use
// its release names.
func isDebianArchive(uri string) bool {
	return strings.Contains(strings.ToLower(uri), "debian")
}

// oneLineSources picks from a file of lines "deb [options] uri suite component …".
func oneLineSources(text, suite string) (found []string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind != "deb" {
			continue
		}
		options := ""
		if rest = strings.TrimSpace(rest); strings.HasPrefix(rest, "[") {
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				continue
			}
			options, rest = rest[:end+1]+" ", rest[end+1:]
		}
		fields := strings.Fields(rest)
		if len(fields) < 3 || !isDebianArchive(fields[0]) || !isDebianSuite(fields[1], suite) || !slices.Contains(fields[2:], "main") {
			continue
		}
		found = append(found, fmt.Sprintf("deb %s%s %s main", options, fields[0], fields[1]))
	}
	return found
}

// stanzaSources picks from a file of deb822 stanzas; of each it keeps the
// suites of the release and the component main, and every other field as it is.
func stanzaSources(text, suite string) (found []string) {
	for _, stanza := range splitStanzas(text) {
		fields := map[string]string{}
		for _, field := range stanza {
			name, value, _ := strings.Cut(field, ":")
			fields[strings.ToLower(name)] = value
		}
		suites := slices.DeleteFunc(strings.Fields(fields["suites"]), func(name string) bool { return !isDebianSuite(name, suite) })
		uris := slices.DeleteFunc(strings.Fields(fields["uris"]), func(uri string) bool { return !isDebianArchive(uri) })
		enabled := !slices.Contains([]string{"no", "false", "off", "0"}, strings.ToLower(strings.TrimSpace(fields["enabled"])))
		if len(suites) == 0 || len(uris) == 0 || !enabled ||
			!slices.Contains(strings.Fields(fields["types"]), "deb") || !slices.Contains(strings.Fields(fields["components"]), "main") {
			continue
		}
		kept := []string{"Types: deb", "URIs: " + strings.Join(uris, " "), "Suites: " + strings.Join(suites, " "), "Components: main"}
		for _, field := range stanza {
			name, _, _ := strings.Cut(field, ":")
			if !slices.Contains([]string{"types", "uris", "suites", "components", "enabled"}, strings.ToLower(name)) {
				kept = append(kept, field)
			}
		}
		found = append(found, strings.Join(kept, "\n"))
	}
	return found
}

// splitStanzas answers each stanza as its fields, a field with its continuation lines.
func splitStanzas(text string) (stanzas [][]string) {
	var fields []string
	end := func() {
		if len(fields) > 0 {
			stanzas = append(stanzas, fields)
		}
		fields = nil
	}
	for scanner := bufio.NewScanner(strings.NewReader(text)); scanner.Scan(); {
		line := scanner.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			end()
		case (line[0] == ' ' || line[0] == '\t') && len(fields) > 0:
			fields[len(fields)-1] += "\n" + line
		default:
			fields = append(fields, line)
		}
	}
	end()
	return stanzas
}
