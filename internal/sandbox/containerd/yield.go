package containerd

import (
	"context"
	"fmt"
	"time"
)

// yield has a new sandbox take only what processor time others leave, for a while.
func (p *Provider) yield(id string, during time.Duration) {
	if during <= 0 {
		return
	}
	p.cgroups.Yield(id, true)
	time.AfterFunc(during, func() { p.cgroups.Yield(id, false) })
}

// endYields ends what a provider before this one did not come to.
func (p *Provider) endYields(ctx context.Context) error {
	all, err := p.client.ContainerService().List(p.ctx(ctx), fmt.Sprintf("labels.%q==%s", labelInstance, p.cfg.Instance))
	for _, c := range all {
		p.cgroups.Yield(c.ID, false)
	}
	return err
}
