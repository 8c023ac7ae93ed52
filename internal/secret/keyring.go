// Package secret encrypts what must not lie in the database in clear: AEAD
// (AES-256-GCM by Tink), bound to its owner and its name, so that a ciphertext
// moved to another row does not open there. A ciphertext begins with the number of
// its format and the id of its key.
//
// The key ring is a file, made at first start, mode 0600. Without it, or with
// another, nothing opens; whoever needs a secret must stop then, never go on
// with an empty one. Another process may change the file (see Rotate and Prune): it
// is looked at before each use.
package secret

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// ErrCannotOpen is in the chain of every error that says that a value cannot be
// decrypted, or could not be because the key ring is gone. Trying again does not help.
var ErrCannotOpen = errors.New("the value cannot be decrypted")

// KeyRing seals with its newest key and opens with any it has. It is safe for concurrent use.
type KeyRing struct {
	path string

	mu        sync.Mutex
	file      fs.FileInfo // what was read
	ring      ring
	primitive tink.AEAD
}

// Open reads the key ring at path, making a new one when there is none.
func Open(path string) (*KeyRing, error) {
	k, err := Read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := create(path); err != nil {
		return nil, err
	}
	return Read(path)
}

// Read reads the key ring at path; fs.ErrNotExist is in the error's chain when there is none.
func Read(path string) (*KeyRing, error) {
	k := &KeyRing{path: path}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k, k.refresh()
}

// refresh reads the file if it is not the one that was read before. After an error
// the ring is what it was.
func (k *KeyRing) refresh() error {
	info, err := os.Stat(k.path)
	if err != nil {
		return coderunner.Wrap(errors.Join(ErrCannotOpen, err), coderunner.Unavailable, "The key ring %s cannot be read. Put the file back from its backup; nothing has been changed.", k.path)
	}
	if k.file != nil && os.SameFile(info, k.file) && info.ModTime().Equal(k.file.ModTime()) && info.Size() == k.file.Size() {
		return nil
	}
	r, err := readRing(k.path, info)
	if err != nil {
		return err
	}
	primitive, err := aead.New(r.handle)
	if err != nil {
		return fmt.Errorf("key ring %s: %w", k.path, err)
	}
	k.ring, k.primitive, k.file = r, primitive, info
	return nil
}

// Check says whether the ring can be worked with: its file is there and whole.
func (k *KeyRing) Check() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refresh()
}

// Seal encrypts plaintext for one owner (a project's id) under one name (a variable's
// key). It refuses to while the ring's file is gone: nobody could open the result later.
func (k *KeyRing) Seal(owner, name string, plaintext []byte) ([]byte, error) {
	k.mu.Lock()
	err := k.refresh()
	primitive := k.primitive
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return primitive.Encrypt(plaintext, binding(owner, name))
}

// Open decrypts what Seal made for the same owner and name. Any other input is
// an error, and the caller must stop.
func (k *KeyRing) Open(owner, name string, sealed []byte) ([]byte, error) {
	k.mu.Lock()
	_ = k.refresh() // what was read before still opens what it sealed
	primitive, ring := k.primitive, k.ring
	k.mu.Unlock()
	plaintext, err := primitive.Decrypt(sealed, binding(owner, name))
	if err == nil {
		return plaintext, nil
	}
	err = errors.Join(ErrCannotOpen, err)
	if id, known := KeyOf(sealed); known && !ring.has(id) {
		return nil, coderunner.Wrap(err, coderunner.Unavailable, "The secret %q cannot be decrypted: its key %s is not in the key ring of the data directory. Put back the file that it was encrypted with; nothing has been changed.", name, id)
	}
	return nil, coderunner.Wrap(err, coderunner.Unavailable, "The secret %q cannot be decrypted: what is stored was damaged, or belongs to another place. Set it anew, or put the database's backup back; nothing has been changed.", name)
}

// KeyID names a key of a ring.
type KeyID uint32

func (id KeyID) String() string { return fmt.Sprintf("%08x", uint32(id)) }

// HeaderBytes is the length of what a ciphertext begins with: Tink's format, then the key.
const HeaderBytes = 5

// format is Tink's: one byte, then the key's id, big-endian.
const format = 1

// KeyOf answers which key a ciphertext needs; known is false if it is none of ours.
func KeyOf(sealed []byte) (id KeyID, known bool) {
	if len(sealed) < HeaderBytes || sealed[0] != format {
		return 0, false
	}
	return KeyID(binary.BigEndian.Uint32(sealed[1:])), true
}

// Header is what every ciphertext of a key begins with.
func Header(id KeyID) []byte { return binary.BigEndian.AppendUint32([]byte{format}, uint32(id)) }

// Key is a key of a ring, without the key itself.
type Key struct {
	ID      KeyID
	MadeAt  time.Time
	Primary bool // what is sealed now is sealed with it
}

// Keys lists the ring's keys, the newest first.
func (k *KeyRing) Keys() ([]Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.refresh()
	return k.ring.keys(), err
}

func binding(owner, name string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(owner)))
	b = append(b, owner...)
	return append(b, name...)
}
