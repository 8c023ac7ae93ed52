package playbook

import (
	"context"
	"sync"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// What npm, pip and Go have downloaded is kept for the next build of the same user, on a volume that
// builders have and nothing else: no app, no snapshot, no other user's build. It may go whenever no
// builder has it.

// cacheDir is where a builder has its user's cache.
const cacheDir = "/var/cache/packages"

// cacheEnvironment points the tools at the cache. They write to it so that several may at once.
func cacheEnvironment() map[string]string {
	return map[string]string{"npm_config_cache": cacheDir + "/npm", "PIP_CACHE_DIR": cacheDir + "/pip", "GOMODCACHE": cacheDir + "/go/mod", "GOCACHE": cacheDir + "/go/build"}
}

// cacheMounts are the volumes of a builder of the user's.
func (e *Engine) cacheMounts(userID string) []sandbox.Mount {
	if e.cfg.PackageCache <= 0 {
		return nil
	}
	return []sandbox.Mount{{Volume: coderunner.CacheVolume(userID), Path: cacheDir, Room: e.cfg.PackageCache}}
}

// cacheUse is held for reading while a builder is made, and for writing while its user's cache is
// removed. Once it is made, the provider knows that it has the cache.
func (e *Engine) cacheUse(volume string) *sync.RWMutex {
	lock, _ := e.caches.LoadOrStore(volume, new(sync.RWMutex))
	return lock.(*sync.RWMutex)
}

// dropCaches removes each user's cache that takes more than limit, in bytes, and that no builder has.
func (e *Engine) dropCaches(ctx context.Context, limit int64) error {
	volumes, err := e.provider.ListVolumes(ctx, nil)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if !coderunner.IsCacheVolume(v.Name) {
			continue
		}
		bytes, err := e.provider.VolumeSize(ctx, v.Name)
		if err == nil && bytes > limit {
			err = e.dropCache(ctx, v.Name)
		}
		if kind := coderunner.KindOf(err); err != nil && kind != coderunner.NotFound && kind != coderunner.Conflict {
			return err
		}
	}
	return nil
}

func (e *Engine) dropCache(ctx context.Context, volume string) error {
	lock := e.cacheUse(volume)
	lock.Lock()
	defer lock.Unlock()
	return e.provider.RemoveVolume(ctx, volume)
}
