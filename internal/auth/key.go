package auth

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const keyLength = 32 // bytes, as long as HS256's output

// openKey reads the key at path, making a new one when there is none.
func openKey(path string) ([]byte, error) {
	key, err := readKey(path)
	if errors.Is(err, os.ErrNotExist) {
		return createKey(path)
	}
	return key, err
}

func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, coderunner.Errorf(coderunner.Invalid, "The key %s can be read by others (mode %04o). Run: chmod 600 %[1]s", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) < keyLength {
		return nil, coderunner.Errorf(coderunner.Invalid, "The key %s is damaged. Remove it and start again: a new one is made, and programs that use the API log in again.", path)
	}
	return key, nil
}

// createKey writes a new key. The file appears whole or not at all, and an
// existing one is never replaced.
func createKey(path string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	key := random(keyLength)
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	switch err := os.Link(f.Name(), path); {
	case errors.Is(err, os.ErrExist): // another process was quicker
		return readKey(path)
	case err != nil:
		return nil, err
	}
	return key, nil
}
