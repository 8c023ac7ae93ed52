package pglocal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// account is whom the cluster runs as.
type account struct {
	name     string
	uid, gid uint32
	switched bool   // it is not the account we run as
	caller   string // the account we run as
}

// chooseAccount finds the unprivileged account for the cluster. PostgreSQL refuses
// to run as root.
func chooseAccount(name string) (account, error) {
	me, err := user.Current()
	if err != nil {
		return account{}, fmt.Errorf("look up our own account: %w", err)
	}
	if os.Geteuid() != 0 {
		return account{name: me.Username, uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()), caller: me.Username}, nil
	}
	asked := name
	if asked == "" {
		asked = "postgres"
	}
	found, err := user.Lookup(asked)
	var unknown user.UnknownUserError
	switch {
	case errors.As(err, &unknown):
		return account{}, coderunner.Errorf(coderunner.Unavailable,
			"There is no account %q to run the database as. Make it (useradd --system %s), or name another one.", asked, asked)
	case err != nil:
		return account{}, fmt.Errorf("look up account %q: %w", asked, err)
	}
	uid, err := strconv.ParseUint(found.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("account %q: %w", asked, err)
	}
	gid, err := strconv.ParseUint(found.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("account %q: %w", asked, err)
	}
	if uid == 0 {
		return account{}, coderunner.Errorf(coderunner.Invalid, "PostgreSQL does not run as root. Name an unprivileged account for the database.")
	}
	return account{name: found.Username, uid: uint32(uid), gid: uint32(gid), switched: true, caller: me.Username}, nil
}

// become makes cmd run as the account with a bare environment.
func (a account) become(cmd *exec.Cmd) {
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "LC_MESSAGES=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if a.switched {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
}

// useReserve lets cmd, which become has prepared, write to what a file system keeps back
// for the system (5 % of an ext4 by default): the database can do its work
// while others have filled the disk. Its account gets no other right by it.
func (a account) useReserve(cmd *exec.Cmd) {
	if a.switched && mayGive(unix.CAP_SYS_RESOURCE) {
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_SYS_RESOURCE}
	}
}

// mayGive reports whether we have the capability and can hand it on: in a container
// we may be a root without it.
func mayGive(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var ours [2]unix.CapUserData
	if err := unix.Capget(&header, &ours[0]); err != nil {
		return false
	}
	bounded, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(capability), 0, 0, 0)
	return err == nil && bounded == 1 && ours[capability/32].Permitted&(1<<(capability%32)) != 0
}

func (a account) own(path string) error {
	if !a.switched {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}
