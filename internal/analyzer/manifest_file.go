package analyzer

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// The keys and words of Manifest 4's file.
var (
	manifestKeys = []string{"name", "version", "entities", "groups", "endpoints", "settings"}
	entityKeys   = []string{"className", "nameSingular", "namePlural", "slug", "mainProp", "seedCount", "authenticable", "single",
		"properties", "belongsTo", "belongsToMany", "policies", "validation", "hooks", "middlewares"}
	propertyTypes = []string{"string", "text", "richText", "number", "link", "money", "date", "timestamp", "email", "boolean",
		"password", "choice", "location", "file", "image", "group"}
)

// maxYAMLNodes bounds how much of a file is looked at, aliases counted each time.
const maxYAMLNodes = 100_000

// manifestFile is a parsed file while it is checked.
type manifestFile struct {
	left     int // nodes that may still be looked at
	problems []problem
}

// isManifest reports whether a file is a Manifest backend by what it holds: a
// name, entities or endpoints, and no key of anything else.
func isManifest(data []byte) bool {
	root, err := parseYAML(data)
	if err != nil || root == nil {
		return looksLikeManifest(data)
	}
	keys := map[string]*yaml.Node{}
	for key, value := range pairs(root) {
		if !slices.Contains(manifestKeys, key.Value) {
			return false
		}
		keys[key.Value] = resolve(value)
	}
	return keys["name"] != nil && (isMap(keys["entities"]) || isMap(keys["endpoints"]))
}

var (
	topName     = regexp.MustCompile(`(?m)^name\s*:`)
	topEntities = regexp.MustCompile(`(?m)^(entities|endpoints)\s*:`)
	topOthers   = regexp.MustCompile(`(?m)^(apiVersion|kind|applications)\s*:`)
)

// looksLikeManifest decides about a file that no parser reads.
func looksLikeManifest(data []byte) bool { return topName.Match(data) && topEntities.Match(data) }

// isOthersManifest recognises files of Kubernetes and Cloud Foundry.
func isOthersManifest(data []byte) bool { return topOthers.Match(data) && !looksLikeManifest(data) }

// parseYAML reads one document. Nothing is decoded, so that no alias is ever expanded.
func parseYAML(data []byte) (root *yaml.Node, err error) {
	depth := 0
	for at, b := range data {
		switch b {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > maxNesting || b == '\n' && deepLine(data[at+1:]) {
			return nil, fmt.Errorf("line %d: too much lies in each other", 1+strings.Count(string(data[:at+1]), "\n"))
		}
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, err
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	return document.Content[0], nil
}

// deepLine reports whether a line opens very many lists at once, as "- - - -" does, or is indented as if it did.
func deepLine(line []byte) bool {
	dashes := 0
	for _, b := range line[:min(len(line), 4*maxNesting)] {
		switch b {
		case '-', '?':
			dashes++
		case ' ':
		default:
			return dashes > maxNesting
		}
	}
	return len(line) >= 4*maxNesting
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s*)?(?:line (\d+): )?`)

// checkManifest lists what would keep Manifest from starting, each with its line.
func checkManifest(data []byte) []problem {
	root, err := parseYAML(data)
	if err != nil {
		line, text := yamlProblem(data, err)
		return []problem{{line, "this is not valid YAML: " + printableText(text)}}
	}
	f := &manifestFile{left: maxYAMLNodes}
	switch {
	case root == nil:
		f.add(1, "the file is empty")
	case !isMap(root):
		f.add(root.Line, "the file must hold keys such as name and entities")
	default:
		f.check(root)
	}
	if f.left <= 0 {
		return []problem{{1, "the file is too large or repeats itself too often"}}
	}
	slices.SortStableFunc(f.problems, func(a, b problem) int { return a.line - b.line })
	return f.problems
}

// yamlProblem takes an error of the parser apart. Its grammar counts lines from 0, its scanner from 1.
func yamlProblem(data []byte, err error) (line int, text string) {
	m := yamlLine.FindStringSubmatch(err.Error())
	text = strings.TrimPrefix(err.Error(), m[0])
	line, _ = strconv.Atoi(m[1])
	if m[1] != "" && strings.HasPrefix(text, "did not find expected") {
		line++
	}
	if name, ok := strings.CutPrefix(text, "unknown anchor '"); ok {
		name, _, _ = strings.Cut(name, "'")
		line = lineOf(data, "*"+name)
	}
	return max(line, 1), text
}

func (f *manifestFile) add(line int, format string, args ...any) {
	if len(f.problems) < 100 {
		f.problems = append(f.problems, problem{line, fmt.Sprintf(format, args...)})
	}
}

func (f *manifestFile) check(root *yaml.Node) {
	name := false
	var entities []string // by class
	var each []func()
	for key, value := range f.walk(root, "the file") {
		switch key.Value {
		case "name":
			name = true
			if value.Kind != yaml.ScalarNode || strings.TrimSpace(value.Value) == "" {
				f.add(key.Line, "name must be a text")
			}
		case "entities":
			for key, value := range f.walk(value, "entities") {
				entities = append(entities, className(key.Value))
				for field, own := range pairs(value) {
					if field.Value == "className" {
						entities = append(entities, className(own.Value))
					}
				}
				each = append(each, func() { f.entity(key.Value, key.Line, value, entities) })
			}
		case "version", "groups", "endpoints", "settings":
		default:
			f.add(key.Line, "the key %q is not known; those that are: %s", printable(key.Value), strings.Join(manifestKeys, ", "))
		}
	}
	if !name {
		f.add(root.Line, "name is missing")
	}
	for _, check := range each {
		check()
	}
}

// className is how Manifest names an entity in its code, without case: "🐱 my cat" is mycat.
func className(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, text)
}

func (f *manifestFile) entity(name string, line int, entity *yaml.Node, entities []string) {
	name = printable(name)
	if !isMap(entity) {
		f.add(line, "the entity %q has no properties", name)
		return
	}
	properties := false
	for key, value := range f.walk(entity, "the entity "+strconv.Quote(name)) {
		switch key.Value {
		case "properties":
			properties = true
			if value.Kind != yaml.SequenceNode {
				f.add(key.Line, "properties of %q must be a list", name)
				continue
			}
			for _, property := range value.Content {
				f.property(name, resolve(property))
			}
		case "belongsTo", "belongsToMany":
			f.relations(key.Value, name, value, entities)
		default:
			if !slices.Contains(entityKeys, key.Value) {
				f.add(key.Line, "the key %q of the entity %q is not known", printable(key.Value), name)
			}
		}
	}
	if !properties {
		f.add(line, "the entity %q has no properties", name)
	}
}

func (f *manifestFile) property(entity string, property *yaml.Node) {
	if f.left--; f.left <= 0 {
		return
	}
	if !isMap(property) {
		if property.Kind != yaml.ScalarNode {
			f.add(property.Line, "a property of %q must be a name, or a name and a type", entity)
		}
		return
	}
	named := false
	for key, value := range f.walk(property, "a property of "+strconv.Quote(entity)) {
		switch key.Value {
		case "name":
			named = value.Kind == yaml.ScalarNode && value.Value != ""
		case "type":
			if !slices.Contains(propertyTypes, value.Value) {
				f.add(value.Line, "the type %q of a property of %q is not known; those that are: %s", printable(value.Value), entity, strings.Join(propertyTypes, ", "))
			}
		}
	}
	if !named {
		f.add(property.Line, "a property of %q has no name", entity)
	}
}

// relations checks that those named exist. Each is a name, or { name, entity, … }.
func (f *manifestFile) relations(kind, entity string, list *yaml.Node, entities []string) {
	if list.Kind != yaml.SequenceNode {
		f.add(list.Line, "%s of %q must be a list", kind, entity)
		return
	}
	for _, item := range list.Content {
		item = resolve(item)
		if f.left--; f.left <= 0 {
			return
		}
		wanted := item.Value
		for key, value := range pairs(item) {
			if key.Value == "entity" || key.Value == "name" && wanted == "" {
				wanted = value.Value
			}
		}
		if !slices.Contains(entities, className(wanted)) {
			f.add(item.Line, "%s of %q names the entity %q, which the file does not have", kind, entity, printable(wanted))
		}
	}
}

// walk goes over the entries of a mapping, and tells of those that are there twice.
func (f *manifestFile) walk(n *yaml.Node, of string) func(func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		seen := map[string]bool{}
		for key, value := range pairs(n) {
			if f.left--; f.left <= 0 {
				return
			}
			if seen[key.Value] {
				f.add(key.Line, "the key %q is there twice in %s", printable(key.Value), of)
			}
			seen[key.Value] = true
			if !yield(key, resolve(value)) {
				return
			}
		}
	}
}

// pairs goes over the entries of a mapping; nothing for any other node.
func pairs(n *yaml.Node) func(func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		if n = resolve(n); !isMap(n) {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i]; key.Value != "<<" && !yield(key, n.Content[i+1]) {
				return
			}
		}
	}
}

// resolve follows an alias to what it stands for, one step: an anchor is never an alias itself.
func resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func isMap(n *yaml.Node) bool { return n != nil && n.Kind == yaml.MappingNode }
