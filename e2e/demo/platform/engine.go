package platform

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

var socketLine = regexp.MustCompile(`address = "([^"]+\.sock)"`)

// EngineSocket is where the private engine of the directory listens.
func EngineSocket(engineDir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(engineDir, "containerd.toml"))
	if err != nil {
		return "", err
	}
	found := socketLine.FindSubmatch(text)
	if found == nil {
		return "", errors.New("the engine's configuration names no socket")
	}
	return string(found[1]), nil
}

// ForgetEngine removes what a stopped engine keeps outside its directory until
// the next start or reboot. It is for engines whose directory is about to go.
func ForgetEngine(engineDir string) error {
	socket, err := EngineSocket(engineDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was never started
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(filepath.Dir(socket))
}
