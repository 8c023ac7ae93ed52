package appliance

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/coderunner"
)

const database = `
name: redis-1
title: Store 1
kind: database
description: Keeps things.
suite: bookworm
packages: [store, libstore-dev]
user: {name: store, uid: 999, gid: 998, home: /var/lib/store}
workdir: /var/lib/store
env: {PATH: /usr/bin, LANG: C.UTF-8}
setup: setup.sh
database:
  protocol: redis
  port: 7000
  volume: /var/lib/store/data
  start: [/usr/local/bin/start.sh, --fast]
  ready: [/usr/bin/true]
  init: [/usr/local/bin/init.sh]
`

func folder(yaml string) fstest.MapFS {
	return fstest.MapFS{
		"redis-1/appliance.yaml":               {Data: []byte(yaml)},
		"redis-1/files/setup.sh":               {Data: []byte("echo setting up\n")},
		"redis-1/files/usr/local/bin/start.sh": {Data: []byte("#!/bin/sh\nexec store\n")},
		"redis-1/files/usr/local/bin/init.sh":  {Data: []byte("#!/bin/sh\n")},
		"redis-1/files/etc/store.conf":         {Data: []byte("#")},
	}
}

func TestLoadReadsADefinition(t *testing.T) {
	t.Parallel()
	catalogue, err := Load(folder(database))
	if err != nil {
		t.Fatal(err)
	}
	d, err := catalogue.Get("redis-1")
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Domain(); got.Name != "redis-1" || got.Title != "Store 1" || got.Kind != coderunner.DatabaseAppliance || got.Description != "Keeps things." || got.Digest != d.Digest {
		t.Errorf("Domain() = %+v", got)
	}
	if d.Database.Protocol != coderunner.Redis || d.Database.Port != 7000 || d.Database.VolumePath != "/var/lib/store/data" || strings.Join(d.Database.StartCommand, " ") != "/usr/local/bin/start.sh --fast" {
		t.Errorf("Database = %+v", d.Database)
	}
	template := d.Template()
	if template.Name != "redis-1" || template.Digest != d.Digest || template.User.UID != 999 || template.User.GID != 998 || template.WorkDir != "/var/lib/store" {
		t.Errorf("Template() = %+v", template)
	}
	if err := fstest.TestFS(template.Files, "setup.sh", "usr/local/bin/start.sh", "etc/store.conf"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]fs.FileMode{"usr/local/bin/start.sh": 0o755, "etc/store.conf": 0o644, "setup.sh": 0o644, "usr": fs.ModeDir | 0o755} {
		if info, err := fs.Stat(template.Files, name); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v (%v), want %v", name, info.Mode(), err, want)
		}
	}
	template.Env["PATH"], template.Packages[0] = "changed", "changed"
	if again := d.Template(); again.Env["PATH"] != "/usr/bin" || again.Packages[0] != "store" {
		t.Error("a caller changed the definition through its Template")
	}
	if _, err := catalogue.Get("redis-2"); coderunner.KindOf(err) != coderunner.NotFound || !strings.Contains(err.Error(), "redis-1") {
		t.Errorf("an unknown appliance gives %v", err)
	}
}

func TestDigestCoversWhatTheTemplateIsMadeOf(t *testing.T) {
	t.Parallel()
	digest := func(tree fstest.MapFS) string {
		t.Helper()
		catalogue, err := Load(tree)
		if err != nil {
			t.Fatal(err)
		}
		return catalogue.All()[0].Digest
	}
	edit := func(from, to string) fstest.MapFS {
		t.Helper()
		if !strings.Contains(database, from) {
			t.Fatalf("%q is not in the definition", from)
		}
		return folder(strings.Replace(database, from, to, 1))
	}
	original := digest(folder(database))
	same := map[string]fstest.MapFS{
		"title":             edit("Store 1", "The Store"),
		"description":       edit("Keeps things.", "Keeps all things."),
		"start command":     edit("--fast", "--slow"),
		"order of packages": edit("[store, libstore-dev]", "[libstore-dev, store]"),
	}
	for what, tree := range same {
		if digest(tree) != original {
			t.Errorf("another %s asks for another template", what)
		}
	}
	moved := folder(database)
	moved["redis-1/files/etc/store2.conf"] = moved["redis-1/files/etc/store.conf"]
	delete(moved, "redis-1/files/etc/store.conf")
	program := folder(database)
	program["redis-1/files/setup.sh"] = &fstest.MapFile{Data: []byte("#!/bin/sh\necho setting up\n")}
	other := map[string]fstest.MapFS{
		"package": edit("libstore-dev", "libstore1-dev"), "suite": edit("bookworm", "trixie"),
		"uid": edit("999", "997"), "home": edit("home: /var/lib/store", "home: /srv"), "environment": edit("C.UTF-8", "C"),
		"workdir": edit("workdir: /var/lib/store", "workdir: /srv"), "setup": edit("setup: setup.sh", "setup: etc/store.conf"),
		"download":       edit("setup: setup.sh", "setup: setup.sh\ndownloads: [{npm: a, version: 1.2.3, integrity: {any: sha512-"+strings.Repeat("a", 86)+"==}, into: /usr}]"),
		"name of a file": moved, "file": program,
	}
	seen := map[string]string{original: "original"}
	for what, tree := range other {
		got := digest(tree)
		if before, ok := seen[got]; ok {
			t.Errorf("another %s has the digest of %s", what, before)
		}
		seen[got] = what
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to, want string }{
		{"name: redis-1", "name: redis-2", `name is "redis-2", and the folder is "redis-1"`},
		{"name: redis-1", "name: Store!", `name is "Store!"`},
		{"title: Store 1", "", "title is missing"},
		{"description: Keeps things.", "", "description is missing"},
		{"kind: database", "kind: oracle", `kind is "oracle"`},
		{"kind: database", "kind: runtime", "there is a database section"},
		{"setup: setup.sh", "setup: setup.sh\ndownloads: [{npm: 'a b', version: latest, integrity: {any: sha1-x}, into: usr}]", `integrity any: "sha1-x"`},
		{"setup: setup.sh", "setup: setup.sh\ndownloads: [{npm: a, version: latest, into: /usr}]", `has version "latest"`},
		{"setup: setup.sh", "setup: setup.sh\ndownloads: [{npm: a, version: 1.2.3, into: usr}]", `goes into "usr"`},
		{"setup: setup.sh", "setup: setup.sh\ndownloads: [{npm: a, version: 1.2.3, into: /usr}]", "has no integrity"},
		{"setup: setup.sh", "setup: setup.sh\ndownloads: [{module: a, version: v1.2.3, into: /usr}]", `"a", which is no package of npm's and no module of Go's`},
		{"setup: setup.sh", "setup: setup.sh\ndownloads: [{module: a.org/b, version: v1.2.3, integrity: {x64: h1:x}, into: /usr}]", `integrity x64: "h1:x"`},
		{"setup: setup.sh", "setup: setup.sh\ndownloads: [{npm: a, module: a.org/b, version: v1.2.3, into: /usr}]", "one entry for each"},
		{"setup: setup.sh", "setup: setup.sh\nruntime: {serve: [/usr/bin/true]}", "there is a runtime section"},
		{"kind: database", "kind: builder\nruntime: {builder: other}", "kind is builder, and there is a runtime section"},
		{"kind: database", "kind: runtime\nruntime: {serve: [serve]}", "runtime.serve must be a list"},
		{"kind: database", "kind: runtime\nruntime: {volume: data}", `runtime.volume is "data"`},
		{"setup: setup.sh", "setup: setup.sh\nruntime: {volume: /data}", "there is a runtime section"},
		{"setup: setup.sh", "setup: setup.sh\ndownloads: [{lockfile: a.json, version: 1.2.3}]", "has more than that"},
		{"setup: setup.sh", "setup: setup.sh\ndownloads: [{lockfile: a.json}]", `names the lockfile "a.json"`},
		{"suite: bookworm", "suite: ../x", `suite is "../x"`},
		{"[store, libstore-dev]", "[store, '-o evil']", `packages has "-o evil"`},
		{"[store, libstore-dev]", "[store, store]", "packages has store twice"},
		{"name: store,", "name: root,", "account other than root"},
		{"uid: 999", "uid: 0", "user.uid is 0"},
		{"gid: 998", "gid: 70000", "user.gid is 70000"},
		{"workdir: /var/lib/store", "workdir: app", `workdir is "app"`},
		{"home: /var/lib/store", "home: /var/../etc", `user.home is "/var/../etc"`},
		{"{PATH: /usr/bin", "{2PATH: /usr/bin", `env has "2PATH"`},
		{"setup: setup.sh", "setup: gone.sh", `no such file in redis-1/files`},
		{"protocol: redis", "protocol: oracle", `database.protocol is "oracle"`},
		{"  protocol: redis\n", "", `database.protocol is ""`},
		{"protocol: redis", "protocol: mysql", `name is "redis-1", and database.protocol is mysql`},
		{"port: 7000", "port: 80", "database.port is 80"},
		{"volume: /var/lib/store/data", "volume: data", `database.volume is "data"`},
		{"ready: [/usr/bin/true]", "ready: []", "database.ready must be a list"},
		{"/usr/local/bin/init.sh", "/usr/local/bin/other.sh", "there is no files/usr/local/bin/other.sh"},
		{"/usr/local/bin/init.sh", "/usr/local/../local/x", "database.init must be a list"},
		{"title: Store 1", "titel: Store 1", "titel"},
		{"title: Store 1", "title: [", "appliance.yaml"},
	} {
		if !strings.Contains(database, c.from) {
			t.Fatalf("%q is not in the definition", c.from)
		}
		_, err := Load(folder(strings.Replace(database, c.from, c.to, 1)))
		if coderunner.KindOf(err) != coderunner.Invalid || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "redis-1") {
			t.Errorf("%s → %q gives %v, want something about %q", c.from, c.to, err, c.want)
		}
	}
	runtime, _, _ := strings.Cut(database, "database:")
	runtime = strings.Replace(runtime, "kind: ", "kind: runtime #", 1) + "runtime: {builder: redis-1}\n"
	if _, err := Load(folder(runtime)); coderunner.KindOf(err) != coderunner.Invalid || !strings.Contains(err.Error(), `runtime.builder is "redis-1", which is no appliance of kind builder`) {
		t.Errorf("a builder that is none gives %v", err)
	}
	if _, err := Load(fstest.MapFS{}); err == nil {
		t.Error("an empty catalogue is taken")
	}
	if _, err := Load(fstest.MapFS{"redis-1/README": {}}); err == nil || !strings.Contains(err.Error(), "no appliance.yaml") {
		t.Errorf("a folder without a definition gives %v", err)
	}
}

func TestLoadRefusesLinksAmongTheFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, folder(database)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/shadow", filepath.Join(dir, "redis-1/files/etc/passwords")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(os.DirFS(dir)); err == nil || !strings.Contains(err.Error(), "etc/passwords is neither a file nor a directory") {
		t.Errorf("a link among the files gives %v", err)
	}
}

func TestShippedAppliances(t *testing.T) {
	t.Parallel()
	catalogue, err := Load(appliances.FS)
	if err != nil {
		t.Fatal(err)
	}
	node, err := catalogue.Get("nodejs-18")
	if err != nil || node.Kind != coderunner.RuntimeAppliance || node.Template().User.Name != "app" || node.Template().WorkDir != "/app" {
		t.Errorf("nodejs-18: %+v, %v", node, err)
	}
	if golang, err := catalogue.Get("go"); err != nil || golang.Kind != coderunner.RuntimeAppliance || golang.Builder != "generic-builder" {
		t.Errorf("go: %+v, %v", golang, err)
	}
	for name, port := range map[string]int{"postgres-15": 5432, "mysql": 3306, "redis-7": 6379} {
		d, err := catalogue.Get(name)
		if err != nil || d.Kind != coderunner.DatabaseAppliance || d.Database == nil || d.Database.Port != port || d.Database.Protocol != coderunner.ProtocolOf(name) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}
