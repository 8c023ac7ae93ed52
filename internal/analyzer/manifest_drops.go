package analyzer

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// ManifestFile reads the file that a plan on Manifest starts with: the one that its start command
// names, else the first that Manifest would be given. It is nil if there is none.
func ManifestFile(fsys fs.FS, plan coderunner.Plan) ([]byte, error) {
	names := manifestFiles
	if named, ok := strings.CutPrefix(plan.Start.Value, "manifest-runner "); ok {
		names = append([]string{strings.Trim(named, `'" `)}, names...)
	}
	t := newTree(fsys)
	for _, name := range names {
		name = path.Join(plan.Root, name)
		if !fs.ValidPath(name) {
			continue
		}
		data, err := t.read(name, maxManifestFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return data, err
	}
	return nil, nil
}

// manifestColumns is the kind of column that Manifest makes for a type, where it is not one of
// text of some length. Columns of another kind are made anew, without what was in them.
var manifestColumns = map[string]string{"number": "number", "money": "number", "date": "date", "timestamp": "timestamp", "boolean": "boolean",
	"location": "json", "image": "json", "text": "text", "richText": "text"}

// ManifestDrops lists the columns that Manifest drops when after takes the place of before: it
// brings its tables into the shape of the file at each start. The tables of entities that are gone
// stay as they are. A file that cannot be read drops nothing: Manifest does not start with it.
func ManifestDrops(before, after []byte) []coderunner.Drop {
	was, now := manifestTables(before), manifestTables(after)
	var drops []coderunner.Drop
	for _, table := range was.order {
		kept, there := now.byName[table]
		if !there || now.broken {
			continue
		}
		for _, c := range was.byName[table] {
			switch type_, has := kept.find(c.key); {
			case !has:
				drops = append(drops, coderunner.Drop{Entity: c.entity, Property: c.name})
			case manifestColumns[type_] != manifestColumns[c.type_]:
				drops = append(drops, coderunner.Drop{Entity: c.entity, Property: c.name, Retyped: printable(type_)})
			}
		}
	}
	return drops
}

// column is a property as its table has it; key is its name without case and signs.
type column struct{ entity, name, key, type_ string }

type columns []column

func (list columns) find(key string) (type_ string, ok bool) {
	for _, c := range list {
		if c.key == key {
			return c.type_, true
		}
	}
	return "", false
}

// tables are the entities and groups of a file, by the names of their classes.
type tables struct {
	byName map[string]columns
	order  []string
	broken bool
}

func manifestTables(data []byte) tables {
	t := tables{byName: map[string]columns{}}
	root, err := parseYAML(data)
	if err != nil || len(checkManifest(data)) > 0 {
		t.broken = true
		return t
	}
	for key, value := range pairs(root) {
		if key.Value != "entities" && key.Value != "groups" {
			continue
		}
		for key, value := range pairs(value) {
			name, list := tableOf(key.Value, value)
			t.order = append(t.order, name)
			t.byName[name] = list
		}
	}
	return t
}

// tableOf is an entity's table: a column for each property, for each entity that it belongs to, and
// for the login of one that can log in.
func tableOf(entity string, n *yaml.Node) (table string, list columns) {
	table = className(entity)
	add := func(name, type_ string) {
		list = append(list, column{entity: printable(entity), name: printable(name), key: className(name), type_: type_})
	}
	for key, value := range pairs(n) {
		value = resolve(value)
		switch key.Value {
		case "className":
			table = className(value.Value)
		case "authenticable":
			if value.Value == "true" {
				add("email", "email")
				add("password", "password")
			}
		case "properties", "belongsTo":
			for _, item := range value.Content {
				item = resolve(item)
				name, type_ := item.Value, "string"
				for key, value := range pairs(item) {
					switch key.Value {
					case "name":
						name = resolve(value).Value
					case "type":
						type_ = resolve(value).Value
					}
				}
				if key.Value == "belongsTo" {
					name, type_ = name+"Id", "string"
				}
				add(name, type_)
			}
		}
	}
	return table, list
}
