package secret

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Rotate adds a key to the ring's file; whatever is sealed from now on, by any
// process, is sealed with it. Older keys stay, for what they have sealed.
func (k *KeyRing) Rotate() (Key, error) {
	var key Key
	err := k.change(func(r *ring) error {
		manager := keyset.NewManagerFromHandle(r.handle)
		id, err := manager.Add(aead.AES256GCMKeyTemplate())
		if err == nil {
			err = manager.SetPrimary(id)
		}
		if err != nil {
			return err
		}
		key = Key{ID: KeyID(id), MadeAt: time.Now().UTC().Truncate(time.Millisecond), Primary: true}
		r.made[key.ID] = key.MadeAt
		r.handle, err = manager.Handle()
		return err
	})
	return key, err
}

// Settled is how long after a rotation the former keys stay at least: a transaction
// that was open then may have sealed with one of them and not have ended.
const Settled = 10 * time.Minute

// Prune removes the keys that are not in use, and answers them. What they have
// sealed, in a backup of the database for one, never opens again without a copy of
// the ring from before. Conflict while the newest key is younger than Settled.
func (k *KeyRing) Prune(used map[KeyID]bool, now time.Time) ([]Key, error) {
	var gone []Key
	err := k.change(func(r *ring) error {
		manager := keyset.NewManagerFromHandle(r.handle)
		for _, key := range r.keys() {
			switch {
			case key.Primary && now.Sub(key.MadeAt) < Settled:
				return coderunner.Errorf(coderunner.Conflict, "The newest key is %s old. A save that began before it may still be under way with the key before; run this again in %s.",
					now.Sub(key.MadeAt).Round(time.Second), (Settled - now.Sub(key.MadeAt)).Round(time.Second))
			case key.Primary || used[key.ID]:
				continue
			}
			if err := manager.Delete(uint32(key.ID)); err != nil {
				return err
			}
			delete(r.made, key.ID)
			gone = append(gone, key)
		}
		if len(gone) == 0 {
			return errUnchanged
		}
		var err error
		r.handle, err = manager.Handle()
		return err
	})
	return gone, err
}

// errUnchanged ends a change that has nothing to write.
var errUnchanged = errors.New("unchanged")

// change rewrites the ring's file, one process at a time.
func (k *KeyRing) change(edit func(*ring) error) error {
	dir, err := os.Open(filepath.Dir(k.path))
	if err != nil {
		return err
	}
	defer dir.Close() // and with it the lock
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.refresh(); err != nil {
		return err
	}
	next := ring{handle: k.ring.handle, made: maps.Clone(k.ring.made)}
	if err := edit(&next); errors.Is(err, errUnchanged) {
		return nil
	} else if err != nil {
		return err
	}
	if err := next.write(k.path, false); err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "The key ring %s cannot be written. Nothing was changed.", k.path)
	}
	return k.refresh()
}
