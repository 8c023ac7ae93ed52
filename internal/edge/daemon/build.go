package daemon

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"io"
	"os"
)

// executableID tells builds of the program apart. It is that of the file that this
// process was started from, whatever is at its path now.
func executableID() (string, error) { return fileID("/proc/self/exe") }

// fileID is the build id that the compiler leaves in the file, which depends on
// everything that went into it; without one, the file's hash.
func fileID(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if program, err := elf.NewFile(f); err == nil {
		if note := program.Section(".note.go.buildid"); note != nil {
			if text, err := note.Data(); err == nil {
				// Name size, description size, type, "Go\0\0", and the id, padded.
				if _, id, found := bytes.Cut(text, []byte("Go\x00\x00")); found && len(bytes.Trim(id, "\x00")) > 0 {
					return string(bytes.Trim(id, "\x00")), nil
				}
			}
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
