package playbook

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/testdb"
)

// hoards writes more and more from when it is told to.
const hoards = `
const fs = require("node:fs"), piece = require("node:crypto").randomBytes(8 << 20);
require("node:http").createServer((req, res) => {
  if (req.url === "/hoard") setInterval(() => fs.appendFileSync("hoard", piece), 50);
  res.end(fs.existsSync("hoard") ? "full" : "empty");
}).listen(process.env.PORT);
`

// TestWhoWritesTooMuch: a build that does fails with the reason; an app that does is
// started again without what it has written, and its pages say why.
func TestWhoWritesTooMuch(t *testing.T) {
	t.Parallel()
	p := startPlatformIn(t, t.TempDir(), testdb.New(t), func(p *platform) { p.engine.cfg.AppLimits.DiskBytes = 96 << 20 })
	s := p.upload(t, "hoarder", hoards)
	s.plan.Install.Value, s.plan.Start.Value = "", "node index.js"
	s.plan.Build.Value = "while :; do head -c 16M /dev/urandom >> big; sleep 0.05; done"
	_, run := p.deploy(t, s)
	run = p.ended(t, run.ID)
	if f := run.Failure; run.State != coderunner.RunFailed || f == nil || f.ID != "build.over_disk" || f.Blame != coderunner.Theirs || f.Title != "The build command wrote more than 96 MiB to its disk and was ended." {
		t.Fatalf("the deploy ended %s: %+v\n%s", run.State, f, p.logText(t, run.ID))
	}

	s.plan.Build.Value = ""
	p.succeeds(t, s)
	d := p.current(t, s)
	if status, said := p.get(t, s.project.Slug, "/hoard"); status != http.StatusOK || said != "empty" {
		t.Fatalf("the app answers %d, %q", status, said)
	}
	ctx := within(t, 40*time.Second)
	for {
		records, err := p.store.ProjectSandboxes(ctx, s.project.ID)
		if err != nil {
			t.Fatal(err)
		}
		status, said := p.get(t, s.project.Slug, "/")
		if len(records) == 1 && records[0].LastExit != nil && status == http.StatusOK {
			if last := records[0].LastExit; !last.OverDisk || said != "empty" || records[0].ID != d.AppSandboxID {
				t.Errorf("it ended with %+v and then answers %q", last, said)
			}
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the app was not started again: %+v, it answers %d, %q", records, status, said)
		case <-time.After(50 * time.Millisecond):
		}
	}
	printed, err := p.store.RuntimeLogBefore(ctx, s.project.ID, coderunner.RuntimeFilter{}, 1<<40, 100)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range printed {
		lines = append(lines, l.Text)
	}
	if text := strings.Join(lines, "\n"); !strings.Contains(text, "The app was ended: it wrote more to its disk than it may.") {
		t.Errorf("its log says\n%s", text)
	}
}
