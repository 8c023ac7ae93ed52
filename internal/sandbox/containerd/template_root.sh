# Builds a template's root over the base, in mount and process namespaces of its
# own: whatever becomes of it, no mount and no process is left behind.
#
#   lower/  the base        files/     the appliance's own files
#   upper/  what is added   apt.conf   turns this machine's apt to root/
#   root/   both, mounted   sources/   where packages come from now, and
#   downloads/ archives     sources.debian/ what the template says about that
#
# Arguments: user, uid, gid, home, working directory, setup script or "", packages.
set -eu
user=$1 uid=$2 gid=$3 home=$4 workdir=$5 setup=$6
shift 6

fail() {
	echo "E: $*" >&2
	exit 1
}

mount --make-rprivate /
mount -t proc proc /proc
layers=lowerdir=lower,upperdir=upper,workdir=scratch,redirect_dir=off,metacopy=off,index=off
# Nothing here has to survive a crash of the machine, so nothing waits for the disk.
mount -t overlay -o "$layers,volatile" overlay root 2>/dev/null ||
	mount -t overlay -o "$layers" overlay root ||
	fail "the directory cannot hold an overlay file system"
mount -t proc proc root/proc
mount -t tmpfs -o mode=0755 tmpfs root/dev
for device in null zero full random urandom tty; do
	: >"root/dev/$device"
	mount --bind "/dev/$device" "root/dev/$device"
done
ln -s /proc/self/fd root/dev/fd
mkdir root/dev/shm
mount -t tmpfs -o mode=1777 tmpfs root/dev/shm

inside() {
	env -i PATH="$PATH" HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot root "$@"
}

# No package starts a server while it is installed.
printf '#!/bin/sh\nexit 101\n' >root/usr/sbin/policy-rc.d
chmod 0755 root/usr/sbin/policy-rc.d

# The account comes first, so that packages find it with the numbers that it is to have.
inside getent group "$gid" >/dev/null || inside groupadd --gid "$gid" "$user"
inside getent passwd "$user" >/dev/null ||
	inside useradd --uid "$uid" --gid "$gid" --home-dir "$home" --no-create-home --shell /bin/bash "$user"
[ "$(inside id -u "$user"):$(inside id -g "$user")" = "$uid:$gid" ] ||
	fail "the account $user does not get the numbers $uid:$gid"

if [ $# -gt 0 ]; then
	rm -f root/etc/apt/sources.list.d/*
	cp sources/* root/etc/apt/sources.list.d/
	TMPDIR=$PWD/root/tmp
	export TMPDIR
	echo "step:update"
	apt-get -c apt.conf -qq update
	echo "step:upgrade"
	apt-get -c apt.conf -qq --yes dist-upgrade
	echo "step:install"
	apt-get -c apt.conf -qq --yes install -- "$@"
	apt-get -c apt.conf clean
	unset TMPDIR
	rm -rf root/etc/apt/sources.list.d/* root/var/lib/apt/lists/*
	cp sources.debian/* root/etc/apt/sources.list.d/
fi

for archive in downloads/*.tgz; do
	[ -e "$archive" ] || continue
	into="root$(cat "${archive%.tgz}.into")"
	mkdir -p "$into"
	tar -xzf "$archive" -C "$into" --strip-components=1 --no-same-owner --no-same-permissions
done

echo "step:setup"
tar -C files -c . | tar -C root -x --no-overwrite-dir --keep-directory-symlink --no-same-owner
for directory in "$home" "$workdir"; do
	mkdir -p "root$directory"
	chown "$uid:$gid" "root$directory"
done
if [ -n "$setup" ]; then
	inside /bin/sh "/$setup"
	rm -f "root/$setup"
fi

rm -rf root/tmp/* root/var/tmp/* root/run/* root/var/cache/apt/* root/var/cache/debconf/*-old \
	root/var/cache/ldconfig/aux-cache root/var/lib/dpkg/*-old root/usr/sbin/policy-rc.d
find root/var/log -type f -delete
