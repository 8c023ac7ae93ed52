package project_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// world is a database, a directory of bundles, a key ring and two users.
type world struct {
	*project.Service
	store    *store.Store
	bundles  string
	ada, bob coderunner.User
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{store: store.New(testdb.NewPool(t)), bundles: t.TempDir()}
	bundles := must(bundle.Open(w.bundles, bundle.Limits{FreeBytes: 1}))(t)
	keys := must(secret.Open(filepath.Join(t.TempDir(), "keys.json")))(t)
	w.Service = project.New(w.store, bundles, keys)
	w.ada = must(w.store.CreateUser(t.Context(), "ada@example.com", "hash"))(t)
	w.bob = must(w.store.CreateUser(t.Context(), "bob@example.com", "hash"))(t)
	return w
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantKind(t *testing.T, what string, err error, kind coderunner.Kind) {
	t.Helper()
	if coderunner.KindOf(err) != kind {
		t.Errorf("%s: error %v has kind %q, want %q", what, err, coderunner.KindOf(err), kind)
	}
}

// archive is a tar of files given as name, content, name, content …
func archive(t *testing.T, files ...string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

const startable = `{"name":"app","scripts":{"start":"node index.js"}}`

func node(t *testing.T) *bytes.Buffer {
	return archive(t, "package.json", startable, "index.js", "require('http').createServer().listen(process.env.PORT)")
}

func blobs(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "blobs"), func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !entry.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSlugComesFromTheNameAndIsNeverShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := must(w.Create(t.Context(), w.ada.ID, "Guest Book"))(t)
	if first.Slug != "guest-book" {
		t.Errorf("slug %q, want guest-book", first.Slug)
	}
	second := must(w.Create(t.Context(), w.bob.ID, "Guest Book"))(t)
	if !strings.HasPrefix(second.Slug, "guest-book-") || len(second.Slug) != len("guest-book-")+6 {
		t.Errorf("slug %q, want guest-book- and six characters", second.Slug)
	}
	for _, name := range []string{"admin", "日本語", "xn--evil"} {
		p := must(w.Create(t.Context(), w.ada.ID, name))(t)
		if coderunner.ReservedSlugs[p.Slug] || strings.HasPrefix(p.Slug, "xn--") || p.Slug == "" || p.Name != name {
			t.Errorf("%q became %q with slug %q", name, p.Name, p.Slug)
		}
	}
}

func TestTheSlugOfADestroyedProjectIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 2 {
		p := must(w.Create(t.Context(), w.ada.ID, "Shop"))(t)
		if p.Slug != "shop" {
			t.Errorf("the owner's new project has slug %q", p.Slug)
		}
		if err := w.store.EndProject(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		if gone := must(w.store.Project(t.Context(), w.ada.ID, p.ID))(t); gone.Name != "Shop" || gone.DestroyedAt == nil {
			t.Errorf("the destroyed project is %+v", gone)
		}
		if other := must(w.Create(t.Context(), w.bob.ID, "Shop"))(t); other.Slug == "shop" {
			t.Error("somebody else got the slug of a destroyed project")
		} else if err := w.store.EndProject(t.Context(), other.ID); err != nil {
			t.Fatal(err)
		}
	}
	p := must(w.Create(t.Context(), w.ada.ID, "Else"))(t)
	if p = must(w.Rename(t.Context(), w.ada.ID, p.ID, "Shop"))(t); p.Slug != "shop" {
		t.Errorf("the owner's renamed project has slug %q", p.Slug)
	}
}

func TestNameIsUniqueForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(w.Create(t.Context(), w.ada.ID, "Shop"))(t)
	_, err := w.Create(t.Context(), w.ada.ID, "shop")
	wantKind(t, "the same name again", err, coderunner.Conflict)
	if name := must(w.FreeName(t.Context(), w.ada.ID, "Shop"))(t); name != "Shop 2" {
		t.Errorf("free name %q, want Shop 2", name)
	}
	if name := must(w.FreeName(t.Context(), w.bob.ID, "Shop"))(t); name != "Shop" {
		t.Errorf("another user's free name %q, want Shop", name)
	}
	long := strings.Repeat("é", 100)
	if name := must(w.FreeName(t.Context(), w.ada.ID, long+"\x00\u202e"))(t); name != strings.Repeat("é", coderunner.MaxProjectName) {
		t.Errorf("free name for a long one is %q", name)
	}
}

func TestRenameBeforeTheFirstDeployTakesTheSlugAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, b, err := w.NewFromUpload(t.Context(), w.ada.ID, "untitled folder", "untitled folder", node(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	must(w.Create(t.Context(), w.ada.ID, "Taken"))(t)
	p = must(w.Rename(t.Context(), w.ada.ID, p.ID, " Shop "))(t)
	if p.Name != "Shop" || p.Slug != "shop" {
		t.Errorf("renamed to %q with slug %q, want Shop and shop", p.Name, p.Slug)
	}
	_, err = w.Rename(t.Context(), w.ada.ID, p.ID, "taken")
	wantKind(t, "renaming to a taken name", err, coderunner.Conflict)
	_, err = w.Rename(t.Context(), w.bob.ID, p.ID, "Mine")
	wantKind(t, "renaming somebody else's", err, coderunner.NotFound)

	must(w.store.CreateDeployment(t.Context(), store.NewDeployment{ProjectID: p.ID, BundleID: b.ID, Plan: b.Plan}))(t)
	p = must(w.Rename(t.Context(), w.ada.ID, p.ID, "Market"))(t)
	if p.Name != "Market" || p.Slug != "shop" {
		t.Errorf("after a deployment renamed to %q with slug %q, want Market and still shop", p.Name, p.Slug)
	}
}

func TestUploadKeepsThePlanAndWhatWasLeftOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := archive(t, "package.json", startable, "index.js", "1", "node_modules/a/index.js", "x", ".env", "SECRET=1")
	p, b, err := w.NewFromUpload(t.Context(), w.ada.ID, "", "Guest Book.tar.gz", files, []string{"node_modules/ (3 folders)", ".cache/", "a\x00b"})
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "Guest Book" || b.Filename != "Guest Book.tar.gz" || b.ProjectID != p.ID {
		t.Errorf("project %q, bundle %+v", p.Name, b)
	}
	if b.Plan.Type != "nodejs" || b.Plan.Start.Value == "" {
		t.Errorf("plan %+v, want a start command for nodejs", b.Plan)
	}
	if b.Files != 2 || len(b.Omitted) != 4 || !slices.Contains(b.Omitted, ".cache/") || !slices.Contains(b.Omitted, "ab") || !slices.Contains(b.Omitted, "node_modules/ (1 file)") {
		t.Errorf("%d files, left out %q", b.Files, b.Omitted)
	}
	tree := must(w.Tree(b.SHA256))(t)
	defer tree.Close()
	if _, err := fs.ReadFile(tree, "index.js"); err != nil {
		t.Error(err)
	}
	again := must(w.Upload(t.Context(), w.ada.ID, p.ID, node(t), "v2.tar", nil))(t)
	if latest := must(w.store.LatestBundle(t.Context(), w.ada.ID, p.ID))(t); latest.ID != again.ID {
		t.Errorf("latest bundle %s, want the second upload %s", latest.ID, again.ID)
	}
}

func TestRefusedUploadLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for what, body := range map[string]*bytes.Buffer{
		"no archive":         bytes.NewBufferString("hello"),
		"damaged manifest":   archive(t, "package.json", "{", "index.js", "1"),
		"truncated archive":  bytes.NewBuffer(node(t).Bytes()[:700]),
		"a path that climbs": archive(t, "../x", "1"),
	} {
		_, _, err := w.NewFromUpload(t.Context(), w.ada.ID, "app", "app.tar", body, nil)
		wantKind(t, what, err, coderunner.Invalid)
	}
	if _, total, err := w.store.ProjectSummaries(t.Context(), w.ada.ID, "", 10, 0); err != nil || total != 0 {
		t.Errorf("%d projects (%v), want none", total, err)
	}
	if n := blobs(t, w.bundles); n != 0 {
		t.Errorf("%d blobs, want none", n)
	}
}

func TestOthersProjectsAreNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, b, err := w.NewFromUpload(t.Context(), w.ada.ID, "app", "app.tar", node(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Upload(t.Context(), w.bob.ID, p.ID, node(t), "x.tar", nil)
	wantKind(t, "upload", err, coderunner.NotFound)
	_, err = w.Analyze(t.Context(), w.bob.ID, b.ID, ".")
	wantKind(t, "analyze", err, coderunner.NotFound)
	_, err = w.Found(t.Context(), w.bob.ID, b.ID, ".", 10)
	wantKind(t, "found", err, coderunner.NotFound)
	wantKind(t, "set", w.SetVariables(t.Context(), w.bob.ID, p.ID, []coderunner.Variable{{Key: "A", Value: "1"}}), coderunner.NotFound)
	_, err = w.Variables(t.Context(), w.bob.ID, p.ID)
	wantKind(t, "list", err, coderunner.NotFound)
	wantKind(t, "delete", w.DeleteVariable(t.Context(), w.bob.ID, p.ID, "A"), coderunner.NotFound)
}

func TestDestroyedProjectDoesNotChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := must(w.Create(t.Context(), w.ada.ID, "Shop"))(t)
	if err := w.store.EndProject(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	_, err := w.Upload(t.Context(), w.ada.ID, p.ID, node(t), "x.tar", nil)
	wantKind(t, "upload", err, coderunner.Conflict)
	_, err = w.Rename(t.Context(), w.ada.ID, p.ID, "Market")
	wantKind(t, "rename", err, coderunner.Conflict)
	wantKind(t, "variables", w.SetVariables(t.Context(), w.ada.ID, p.ID, nil), coderunner.Conflict)
	if blobs(t, w.bundles) != 0 {
		t.Error("the refused upload was kept")
	}
}

func TestAnalyzeAnotherFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := archive(t, "server/package.json", startable, "server/index.js", "1", "client/package.json", `{"scripts":{"start":"node ui.js"}}`, "client/ui.js", "1", "notes.txt", "hi")
	_, b, err := w.NewFromUpload(t.Context(), w.ada.ID, "app", "app.tar", files, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b.Plan.Root != "server" || len(b.Plan.Candidates) != 2 {
		t.Fatalf("root %q with candidates %v, want server of two", b.Plan.Root, b.Plan.Candidates)
	}
	plan := must(w.Analyze(t.Context(), w.ada.ID, b.ID, "client"))(t)
	if plan.Root != "client" || !strings.Contains(plan.Start.Value, "start") && !strings.Contains(plan.Start.Value, "ui.js") || len(plan.Candidates) != 2 {
		t.Errorf("plan of client: root %q, start %q, candidates %v", plan.Root, plan.Start.Value, plan.Candidates)
	}
	for _, root := range []string{"../etc", "/etc", "nowhere", "notes.txt", ""} {
		_, err := w.Analyze(t.Context(), w.ada.ID, b.ID, root)
		wantKind(t, root, err, coderunner.Invalid)
	}
	if names := must(w.Found(t.Context(), w.ada.ID, b.ID, ".", 2))(t); !slices.Equal(names, []string{"client/", "notes.txt"}) {
		t.Errorf("found %q", names)
	}
}

func TestVariablesAreSealedForTheirProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := must(w.Create(t.Context(), w.ada.ID, "Shop"))(t)
	other := must(w.Create(t.Context(), w.ada.ID, "Other"))(t)
	set := func(id string, vars ...coderunner.Variable) error {
		return w.SetVariables(t.Context(), w.ada.ID, id, vars)
	}
	if err := set(p.ID, coderunner.Variable{Key: "TOKEN", Value: "hunter2"}, coderunner.Variable{Key: "EMPTY"}); err != nil {
		t.Fatal(err)
	}
	if values := must(w.Decrypted(t.Context(), p.ID))(t).Environment(coderunner.RunScope); len(values) != 2 || values["TOKEN"] != "hunter2" {
		t.Errorf("decrypted %v", values)
	}
	sealed := must(w.store.Variables(t.Context(), p.ID))(t)
	for _, v := range sealed {
		if bytes.Contains(v.Sealed, []byte("hunter2")) {
			t.Errorf("%s lies in the database in clear", v.Key)
		}
	}
	listed := must(w.Variables(t.Context(), w.ada.ID, p.ID))(t)
	if len(listed) != 2 || listed[1].Key != "TOKEN" || listed[1].Value != "" || listed[1].UpdatedAt.IsZero() {
		t.Errorf("listed %+v, want keys and times without values", listed)
	}
	// A ciphertext moved to another project's row stops whoever needs it.
	if err := w.store.SetVariable(t.Context(), other.ID, sealed[1]); err != nil {
		t.Fatal(err)
	}
	if values, err := w.Decrypted(t.Context(), other.ID); err == nil {
		t.Errorf("a moved ciphertext opened: %v", values)
	}
	wantKind(t, "a reserved name", set(p.ID, coderunner.Variable{Key: "GOOD", Value: "1"}, coderunner.Variable{Key: "PORT", Value: "1"}), coderunner.Invalid)
	var many []coderunner.Variable
	for i := range coderunner.MaxVariables {
		many = append(many, coderunner.Variable{Key: "V" + strings.Repeat("x", i%100) + strings.Repeat("y", i/100)})
	}
	wantKind(t, "too many", set(p.ID, many...), coderunner.Invalid)
	if err := w.DeleteVariable(t.Context(), w.ada.ID, p.ID, "EMPTY"); err != nil {
		t.Error(err)
	}
	wantKind(t, "deleting twice", w.DeleteVariable(t.Context(), w.ada.ID, p.ID, "EMPTY"), coderunner.NotFound)
	if values := must(w.Decrypted(t.Context(), p.ID))(t); len(values) != 1 {
		t.Errorf("after refused changes and one removal: %v", values)
	}
}

func TestUploadsOfOneNameAtOnceAllGetAName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names := make(chan string, 4)
	body := node(t).Bytes()
	for range cap(names) {
		go func() {
			p, _, err := w.NewFromUpload(t.Context(), w.ada.ID, "app", "app.tar", bytes.NewReader(body), nil)
			if err != nil {
				t.Error(err)
			}
			names <- p.Name
		}()
	}
	var got []string
	for range cap(names) {
		got = append(got, <-names)
	}
	slices.Sort(got)
	if want := []string{"app", "app 2", "app 3", "app 4"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
}

func TestProposeKeepsWhatTheUserChose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, b, err := w.NewFromUpload(t.Context(), w.ada.ID, "app", "app.tar", node(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	chosen := b.Plan
	chosen.Start = coderunner.Choice{Value: "node other.js", Why: "your choice"}
	chosen.Port, chosen.PortWhy = 4000, "your choice"
	chosen.Install = coderunner.Choice{Value: "stale", Why: "package.json of the first upload"}
	if err := w.store.SetProjectPlan(t.Context(), p.ID, chosen); err != nil {
		t.Fatal(err)
	}
	next := must(w.Upload(t.Context(), w.ada.ID, p.ID, node(t), "v2.tar", nil))(t)
	plan := must(w.Propose(t.Context(), w.ada.ID, p.ID, next.ID, ""))(t)
	if plan.Start.Value != "node other.js" || plan.Port != 4000 {
		t.Errorf("start %q on port %d, want the user's choices", plan.Start.Value, plan.Port)
	}
	if plan.Install.Value == "stale" {
		t.Error("the analyzer's own former finding was kept as if the user had chosen it")
	}
	other := must(w.Create(t.Context(), w.ada.ID, "Other"))(t)
	_, err = w.Propose(t.Context(), w.ada.ID, other.ID, next.ID, "")
	wantKind(t, "another project's bundle", err, coderunner.NotFound)
	_, err = w.Propose(t.Context(), w.bob.ID, p.ID, next.ID, "")
	wantKind(t, "another user's bundle", err, coderunner.NotFound)
}

func TestUploadsCountsEachBlobOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, b, err := w.NewFromUpload(t.Context(), w.ada.ID, "app", "app.tar", node(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	must(w.Upload(t.Context(), w.ada.ID, p.ID, node(t), "again.tar", nil))(t)
	count, size, err := w.Uploads(t.Context(), w.ada.ID, p.ID)
	if err != nil || count != 2 || size != b.SizeBytes {
		t.Errorf("%d uploads of %d bytes (%v), want 2 of %d", count, size, err, b.SizeBytes)
	}
	_, _, err = w.Uploads(t.Context(), w.bob.ID, p.ID)
	wantKind(t, "somebody else's", err, coderunner.NotFound)
}
