package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// ring is what a key ring's file has: Tink's keys, and when each was made.
type ring struct {
	handle *keyset.Handle
	made   map[KeyID]time.Time
}

// ringFile is its form. Files of the first version are Tink's keyset alone.
type ringFile struct {
	Keyset json.RawMessage     `json:"keyset"`
	Made   map[KeyID]time.Time `json:"made"`
}

// readRing reads a ring. A key of unknown age is as old as the file.
func readRing(path string, info fs.FileInfo) (ring, error) {
	if info.Mode().Perm()&0o077 != 0 {
		return ring{}, coderunner.Errorf(coderunner.Invalid, "The key ring %s can be read by others (mode %04o). Run: chmod 600 %[1]s", path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return ring{}, err
	}
	var file ringFile
	if err = json.Unmarshal(b, &file); err == nil && file.Keyset == nil {
		file.Keyset = b
	}
	r := ring{made: map[KeyID]time.Time{}}
	if err == nil {
		r.handle, err = insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(file.Keyset)))
	}
	if err != nil {
		return ring{}, coderunner.Wrap(errors.Join(ErrCannotOpen, err), coderunner.Invalid, "The key ring %s is damaged. Put the backup of it back; without it no stored secret can be read.", path)
	}
	for _, key := range r.keys() {
		r.made[key.ID] = info.ModTime()
		if at, known := file.Made[key.ID]; known {
			r.made[key.ID] = at
		}
	}
	return r, nil
}

// write puts the ring in the file's place, or where there is none if fresh. The file
// appears whole or not at all, and is on the disk when write returns.
func (r ring) write(path string, fresh bool) error {
	var keys bytes.Buffer
	if err := insecurecleartextkeyset.Write(r.handle, keyset.NewJSONWriter(&keys)); err != nil {
		return err
	}
	b, err := json.MarshalIndent(ringFile{Keyset: keys.Bytes(), Made: r.made}, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keyring-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if fresh {
		err = os.Link(f.Name(), path) // fails where a file is
	} else {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// create writes a ring of one key. An existing file is never replaced.
func create(path string) error {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return err
	}
	r := ring{handle: handle, made: map[KeyID]time.Time{}}
	for _, key := range r.keys() {
		r.made[key.ID] = time.Now().UTC().Truncate(time.Millisecond)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := r.write(path, true); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil // another process was quicker
}

// keys lists the keys: the one that seals, then the others, the newest first.
func (r ring) keys() []Key {
	if r.handle == nil {
		return nil
	}
	info := r.handle.KeysetInfo()
	var keys []Key
	for _, k := range info.GetKeyInfo() {
		id := KeyID(k.GetKeyId())
		keys = append(keys, Key{ID: id, MadeAt: r.made[id], Primary: k.GetKeyId() == info.GetPrimaryKeyId()})
	}
	slices.SortStableFunc(keys, func(a, b Key) int {
		switch {
		case a.Primary:
			return -1
		case b.Primary:
			return 1
		}
		return b.MadeAt.Compare(a.MadeAt)
	})
	return keys
}

func (r ring) has(id KeyID) bool {
	return slices.ContainsFunc(r.keys(), func(k Key) bool { return k.ID == id })
}
