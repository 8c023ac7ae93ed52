package sandboxtest

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

var volumeTests = map[string]func(*testing.T, *suite){
	"VolumesPersist":   testVolumesPersist,
	"VolumesBeginFull": testVolumesBeginFull,
	"VolumeLabels":     testVolumeLabels,
	"RemoveVolume":     testRemoveVolume,
	"VolumeSize":       testVolumeSize,
}

func testVolumesPersist(t *testing.T, s *suite) {
	volume := s.volume(t)
	mount := sandbox.Mount{Volume: volume, Path: "/data/deep"}
	first := s.make(t, sandbox.Spec{Volumes: []sandbox.Mount{mount}})
	if got := first.sh(t, `stat -c %u /data/deep; echo kept > /data/deep/file; echo lost > /tmp/file`); got != decimal(s.template.User.UID)+"\n" {
		t.Errorf("the volume's owner is %q", got)
	}
	if err := s.provider.Destroy(within(t), first.name); err != nil {
		t.Fatal(err)
	}
	mount.Path = "/elsewhere"
	second := s.make(t, sandbox.Spec{Volumes: []sandbox.Mount{mount}})
	if got := second.sh(t, `cat /elsewhere/file; test -e /tmp/file || echo new`); got != "kept\nnew\n" {
		t.Errorf("in the second sandbox there is %q", got)
	}
	// Nothing in a volume gives rights that its user does not have.
	cmd := shell(`cp /usr/bin/id /elsewhere/id && chmod 4755 /elsewhere/id`)
	cmd.User = "root"
	second.must(t, cmd)
	if got := second.sh(t, `/elsewhere/id -u`); got != decimal(s.template.User.UID)+"\n" {
		t.Errorf("a setuid program in a volume runs as %q", got)
	}
}

// testVolumesBeginFull: a volume begins with what the template has at its place, and
// goes its own way from there.
func testVolumesBeginFull(t *testing.T, s *suite) {
	const look = `find /etc/cron.daily /etc/alternatives -printf '%P %y %m %U %G %s %l\n' | sort`
	bare := s.make(t, sandbox.Spec{}).sh(t, look)
	mounts := func() []sandbox.Mount {
		return []sandbox.Mount{{Volume: s.volume(t), Path: "/etc/cron.daily"}, {Volume: s.volume(t), Path: "/etc/alternatives"}}
	}
	volumes := mounts()
	for range 2 {
		b := s.make(t, sandbox.Spec{Volumes: volumes})
		if got := b.sh(t, look); got != bare {
			t.Errorf("the volumes have\n%s\nand the template has\n%s", got, bare)
		}
		if err := s.provider.Destroy(within(t), b.name); err != nil {
			t.Fatal(err)
		}
	}
	cmd := shell(`rm -r /etc/alternatives/* && echo own > /etc/alternatives/file`)
	cmd.User = "root"
	s.make(t, sandbox.Spec{Volumes: volumes[1:]}).must(t, cmd)
	if got := s.make(t, sandbox.Spec{Volumes: volumes[1:]}).sh(t, `ls /etc/alternatives`); got != "file\n" {
		t.Errorf("the changed volume has %q", got)
	}
	if got := s.make(t, sandbox.Spec{Volumes: mounts()}).sh(t, look); got != bare {
		t.Errorf("a new volume has\n%s\nand the template has\n%s", got, bare)
	}
}

func testVolumeLabels(t *testing.T, s *suite) {
	project, a, b := unique("project"), s.volume(t), s.volume(t)
	labels := map[string]string{"project": project, "kind": "database"}
	s.make(t, sandbox.Spec{Volumes: []sandbox.Mount{{Volume: a, Path: "/a", Labels: labels}, {Volume: b, Path: "/b"}}})
	got, err := s.provider.ListVolumes(within(t), map[string]string{"project": project})
	if err != nil || len(got) != 1 || got[0].Name != a || !maps.Equal(got[0].Labels, labels) {
		t.Errorf("ListVolumes = %+v, %v, want %s with %v", got, err, a, labels)
	}
	got, err = s.provider.ListVolumes(within(t), nil)
	found := 0
	for _, v := range got {
		if v.Name == a || v.Name == b {
			found++
		}
	}
	if err != nil || found != 2 {
		t.Errorf("ListVolumes of all = %+v, %v", got, err)
	}
}

func testRemoveVolume(t *testing.T, s *suite) {
	volume := s.volume(t)
	spec := sandbox.Spec{Volumes: []sandbox.Mount{{Volume: volume, Path: "/data"}}}
	b := s.make(t, spec)
	b.sh(t, `echo kept > /data/file`)
	wantKind(t, s.provider.RemoveVolume(within(t), volume), coderunner.Conflict, "removing a volume in use")
	if got := b.sh(t, `cat /data/file`); got != "kept\n" {
		t.Errorf("after the refusal the file has %q", got)
	}
	if err := s.provider.Destroy(within(t), b.name); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.provider.RemoveVolume(within(t), volume); err != nil {
			t.Error(err)
		}
	}
	volumes, err := s.provider.ListVolumes(within(t), nil)
	for _, v := range volumes {
		if v.Name == volume {
			t.Errorf("the volume %s is still listed", volume)
		}
	}
	if err != nil {
		t.Error(err)
	}
	if got := s.make(t, spec).sh(t, `ls /data`); got != "" {
		t.Errorf("a removed volume that is made again has %q", got)
	}
	wantKind(t, s.provider.RemoveVolume(within(t), "../x"), coderunner.Invalid, "removing a volume of no name")
}

func testVolumeSize(t *testing.T, s *suite) {
	volume := s.volume(t)
	b := s.make(t, sandbox.Spec{Volumes: []sandbox.Mount{{Volume: volume, Path: "/data"}}})
	size := func() int64 {
		t.Helper()
		bytes, err := s.provider.VolumeSize(within(t), volume)
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	const mega = 1 << 20
	empty := size()
	if empty < 0 || empty > mega {
		t.Errorf("an empty volume takes %d bytes", empty)
	}
	// A file of two names counts once, holes and what links lead to not at all.
	b.sh(t, `mkdir -p /data/a/b && dd if=/dev/urandom of=/data/a/b/file bs=1M count=8 2>/dev/null && ln /data/a/b/file /data/other &&
		truncate -s 1G /data/hole && ln -s / /data/root && ln -s /usr /data/a/usr && sync -f /data`)
	if grown := size() - empty; grown < 8*mega || grown > 9*mega {
		t.Errorf("8 MiB more take %d bytes", grown)
	}
	if err := s.provider.Destroy(within(t), b.name); err != nil {
		t.Fatal(err)
	}
	if grown := size() - empty; grown < 8*mega {
		t.Errorf("without its sandbox the volume takes %d bytes more", grown)
	}
	over, cancel := context.WithCancel(within(t))
	cancel()
	if _, err := s.provider.VolumeSize(over, volume); !errors.Is(err, context.Canceled) {
		t.Errorf("measuring when nobody waits: %v", err)
	}
	_, err := s.provider.VolumeSize(within(t), unique("volume"))
	wantKind(t, err, coderunner.NotFound, "measuring a volume that is not there")
	_, err = s.provider.VolumeSize(within(t), "../x")
	wantKind(t, err, coderunner.Invalid, "measuring a volume of no name")
}
