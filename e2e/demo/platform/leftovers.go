package platform

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Leftovers lists what is on the machine of the data directory's sandboxes:
// their files, volumes and bundles, network links, network namespaces and
// cgroups. After the last project was destroyed there is none. The package caches, which are
// users' and not projects', are not among them.
func Leftovers(dataDir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dataDir, "instance"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nothing was ever made
	}
	if err != nil {
		return nil, err
	}
	instance := strings.TrimSpace(string(text))
	var left []string
	for _, pattern := range []string{
		filepath.Join(dataDir, "sandboxes", "sandboxes", "*"), filepath.Join(dataDir, "sandboxes", "volumes", "*"), filepath.Join(dataDir, "sandboxes", "networks", "*"),
		filepath.Join("/run/coderunner/netns", instance+"*"), filepath.Join("/sys/fs/cgroup", "*", "coderunner", instance+"*"), filepath.Join("/sys/fs/cgroup", "coderunner", instance+"*"),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		left = append(left, found...)
	}
	left = slices.DeleteFunc(left, func(path string) bool { return strings.HasPrefix(filepath.Base(path), "cache-") })
	bundles, err := regularFiles(filepath.Join(dataDir, "bundles"))
	if err != nil {
		return nil, err
	}
	left = append(left, bundles...)
	links, err := linksOf(instance)
	return append(left, links...), err
}

func regularFiles(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return files, err
}

// linksOf are the network links whose alias names the instance.
func linksOf(instance string) ([]string, error) {
	aliases, err := filepath.Glob("/sys/class/net/*/ifalias")
	if err != nil {
		return nil, err
	}
	var links []string
	for _, path := range aliases {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(string(text), "coderunner "+instance+" ") {
			continue
		}
		if err != nil {
			return nil, err
		}
		links = append(links, "link "+filepath.Base(filepath.Dir(path)))
	}
	return links, nil
}

// Processes are those whose command line names the directory.
func Processes(dir string) ([]string, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var running []string
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid := filepath.Base(filepath.Dir(path))
		if command := strings.ReplaceAll(string(text), "\x00", " "); strings.Contains(command, dir+"/") && pid != strconv.Itoa(os.Getpid()) {
			running = append(running, "process "+pid+": "+command)
		}
	}
	return running, nil
}
