# Makes the root that all templates of a Debian release begin with, in mount and
# process namespaces of its own. Arguments: those of mmdebstrap.
set -eu
mount --make-rprivate /
mount -t proc proc /proc
rm -rf root
mmdebstrap "$@"

rm -rf root/dev root/etc/apt/sources.list.d/* root/etc/apt/sources.list root/etc/resolv.conf root/etc/hostname
mkdir root/dev
cp sources.debian/* root/etc/apt/sources.list.d/
: >root/etc/machine-id
rm -rf root/tmp/* root/run/* root/var/cache/apt/* root/var/lib/apt/lists/* root/var/cache/ldconfig/aux-cache
find root/var/log -type f -delete
