// Package secret encrypts what must not lie in the database in clear: AEAD
// (AES-256-GCM by Tink), bound to its owner and its name, so that a ciphertext
// moved to another row does not open there.
//
// The key ring is a file, made at first start, mode 0600. Without it, or with
// another, nothing opens; whoever needs a secret must stop then, never go on
// with an empty one.
package secret

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// KeyRing seals with its newest key and opens with any it has. It is safe for concurrent use.
type KeyRing struct {
	primitive tink.AEAD
}

// Open reads the key ring at path, making a new one when there is none.
func Open(path string) (*KeyRing, error) {
	handle, err := read(path)
	if errors.Is(err, os.ErrNotExist) {
		handle, err = create(path)
	}
	if err != nil {
		return nil, err
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("key ring %s: %w", path, err)
	}
	return &KeyRing{primitive: primitive}, nil
}

func read(path string) (*keyset.Handle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, coderunner.Errorf(coderunner.Invalid, "The key ring %s can be read by others (mode %04o). Run: chmod 600 %[1]s", path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(b)))
	if err != nil {
		return nil, coderunner.Wrap(err, coderunner.Invalid, "The key ring %s is damaged. Put the backup of it back; without it no stored secret can be read.", path)
	}
	return handle, nil
}

// create writes a ring of one key. The file appears whole or not at all, and an
// existing one is never replaced.
func create(path string) (*keyset.Handle, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keyring-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	switch err := os.Link(f.Name(), path); {
	case errors.Is(err, os.ErrExist): // another process was quicker
		return read(path)
	case err != nil:
		return nil, err
	}
	return handle, nil
}

// Seal encrypts plaintext for one owner (a project's id) under one name (a variable's key).
func (k *KeyRing) Seal(owner, name string, plaintext []byte) ([]byte, error) {
	return k.primitive.Encrypt(plaintext, binding(owner, name))
}

// Open decrypts what Seal made for the same owner and name. Any other input is
// an error, and the caller must stop.
func (k *KeyRing) Open(owner, name string, sealed []byte) ([]byte, error) {
	plaintext, err := k.primitive.Decrypt(sealed, binding(owner, name))
	if err != nil {
		return nil, coderunner.Wrap(err, coderunner.Unavailable, "The secret %q cannot be decrypted: the key ring in the data directory is not the one it was encrypted with. Put that file back; nothing has been changed.", name)
	}
	return plaintext, nil
}

func binding(owner, name string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(owner)))
	b = append(b, owner...)
	return append(b, name...)
}
