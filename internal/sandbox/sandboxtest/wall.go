package sandboxtest

import (
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/sandbox"
)

var wallTests = map[string]func(*testing.T, *suite){
	"NoNewPrivileges": testNoNewPrivileges,
	"RootIsConfined":  testRootIsConfined,
	"OwnProcesses":    testOwnProcesses,
}

func testNoNewPrivileges(t *testing.T, s *suite) {
	b := s.box(t)
	cmd := shell(`for u in /tmp/id /tmp/cat; do cp /usr/bin/${u##*/} $u && chown root:root $u && chmod 6755 $u; done; stat -c %a /tmp/id; printf secret > /root/secret; chmod 600 /root/secret`)
	cmd.User = "root"
	if got := b.must(t, cmd); got != "6755\n" {
		t.Fatalf("the program has the mode %q", got)
	}
	if got, want := b.sh(t, `/tmp/id -u; /tmp/cat /root/secret 2>/dev/null || echo refused`), decimal(s.template.User.UID)+"\nrefused\n"; got != want {
		t.Errorf("a setuid program of root's says %q, want %q", got, want)
	}
	for _, program := range []string{"su root -c id", "passwd -d root", "newgrp root", "mount -t tmpfs none /tmp"} {
		cmd := shell(program)
		cmd.Stdin = strings.NewReader("root\n")
		if r := b.run(t, cmd); r.exit.Code == 0 || strings.Contains(r.stdout, "uid=0") {
			t.Errorf("%q succeeds: %q", program, r.stdout)
		}
	}
}

func testRootIsConfined(t *testing.T, s *suite) {
	b := s.box(t)
	for _, attempt := range []string{
		`mount -t tmpfs none /mnt`,
		`mount --bind /etc /mnt`,
		`mount -o remount,rw /proc/sys`,
		`umount /proc`,
		`unshare --mount true`,
		`unshare --user --map-root-user true`,
		`unshare --net true`,
		`setpriv --bounding-set +all --inh-caps +sys_admin true`,
		`mknod /tmp/disk b 8 0`,
		`mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg`,
		`echo x > /proc/sys/kernel/hostname`,
		`echo 1 > /proc/sys/net/ipv4/ip_forward`,
		`echo /tmp/x > /proc/sys/kernel/core_pattern`,
		`echo b > /proc/sysrq-trigger`,
		`echo 1 > /sys/kernel/uevent_helper`,
		`mkdir /sys/fs/cgroup/escape`,
		`hostname other`,
		`dmesg`,
		`date --set=@0`,
		`head -c 4 /proc/kcore | grep -q ELF`,
		`nsenter --target 1 --net true`,
		`perl -e 'exit !(syscall(101, 16, 1, 0, 0) == 0)'`, // ptrace
		`renice -n -20 $$`,
		`cat /proc/1/environ`,
	} {
		cmd := shell(attempt)
		cmd.User = "root"
		if r := b.run(t, cmd); r.exit.Code == 0 {
			t.Errorf("as root of a sandbox %q succeeds: %q", attempt, r.stdout)
		}
	}
	// What mounts show of the host is nothing that can be written.
	cmd := sandbox.Command{User: "root", Argv: []string{"perl", "-ane", `
		print "$F[1] " if $F[1] =~ m{^/(proc/sys|sys)\b|^/etc/(hosts|resolv.conf)|^/run/coderunner} && $F[3] !~ /(^|,)ro(,|$)/`, "/proc/mounts"}}
	if got := b.must(t, cmd); got != "" {
		t.Errorf("these mounts can be written: %s", got)
	}
}

func testOwnProcesses(t *testing.T, s *suite) {
	b, other, mark := s.box(t), s.box(t), marker()
	if err := other.provider.Start(within(t), other.name, "app", shell(`echo up; exec sleep "$1"`, mark)); err != nil {
		t.Fatal(err)
	}
	other.follow(t, "app").wait(t, "up\n")
	if other.must(t, marked(mark)) == "" {
		t.Error("a sandbox does not see its own process")
	}
	b.wantDead(t, mark)
	// Files are a sandbox's own as well.
	other.sh(t, `echo x > /tmp/mine`)
	if r := b.run(t, shell(`cat /tmp/mine`)); r.exit.Code == 0 {
		t.Error("a sandbox reads another's files")
	}
}
