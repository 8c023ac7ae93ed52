package coderunner

import (
	"strings"
	"testing"
)

func TestRoom(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		disk FileSystem
		says string // "" for room enough
	}{
		"plenty":             {FileSystem{Holds: "x", Size: 100 << 30, Free: 50 << 30, Files: 1000, FreeFiles: 500}, ""},
		"just enough":        {FileSystem{Holds: "x", Size: 100 << 30, Free: 10 << 30}, ""},
		"a little less":      {FileSystem{Holds: "the sandboxes", Size: 100 << 30, Free: 9 << 30}, "9 % of the disk of the sandboxes is free (9.0 GB of 100.0 GB), and deploys and uploads need 10 %"},
		"nothing":            {FileSystem{Holds: "x", Size: 1 << 30}, "0 % of the disk of x is free (0 KB of 1.0 GB)"},
		"too few files":      {FileSystem{Holds: "x", Size: 100 << 30, Free: 50 << 30, Files: 1000, FreeFiles: 70}, "7 % of the files that the disk of x can have are free (70 of 1000)"},
		"no limit for files": {FileSystem{Holds: "x", Size: 100 << 30, Free: 50 << 30}, ""},
	} {
		err := Disk{MinFree: 10, FileSystems: []FileSystem{{Holds: "other", Size: 10, Free: 9}, c.disk}}.Room()
		if (err == nil) != (c.says == "") || err != nil && (KindOf(err) != Unavailable || !strings.Contains(Sentence(err), c.says)) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
}
