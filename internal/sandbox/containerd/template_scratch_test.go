package containerd

import (
	"context"
	"os"
	"testing"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
)

func TestScratch(t *testing.T) {
	c, err := client.New("/tmp/tpl/ctd.sock")
	if err != nil { t.Fatal(err) }
	ctx := namespaces.WithNamespace(context.Background(), "coderunner")
	cat, err := appliance.Load(appliances.FS)
	if err != nil { t.Fatal(err) }
	d, err := cat.Get(os.Getenv("TPL"))
	if err != nil { t.Fatal(err) }
	s := templateStore{c, "overlayfs", "/var/cache/coderunner/templates"}
	start := time.Now()
	err = s.provide(ctx, d.Template(), os.Stdout)
	t.Log(time.Since(start), err)
	if err != nil { t.Fatal(err) }
	start = time.Now()
	has, err := s.has(ctx, d.Template().TemplateRef)
	t.Log(time.Since(start), has, err)
}
