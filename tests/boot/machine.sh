#!/bin/bash
# machine.sh STATE CHECKOUT CGROUP: boots systemd as process 1 of what looks to it like a machine of its own. Called in
# the network namespace of a host of the lab. STATE/etc is laid over a copy of this machine's /etc, and STATE/var is its
# /var/lib/tng; everything else that it writes goes to memory. Nothing of this machine's services is started. When it
# has booted it says READY=1 to the abstract socket CGROUP.
set -euo pipefail
state=$1 checkout=$2 cgroup=$3

if [[ ${4-} != inside ]]; then
    mount --make-rprivate /
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mkdir "/sys/fs/cgroup/$cgroup"
    echo $$ >"/sys/fs/cgroup/$cgroup/cgroup.procs"
    exec unshare --mount --pid --cgroup --ipc --uts --fork --kill-child "$0" "$@" inside
fi

mkdir -p "$state/layers" "$state/var"
mount -t tmpfs tmpfs "$state/layers"
mkdir "$state/layers"/{upper,work,root}
root=$state/layers/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$state/layers/upper,workdir=$state/layers/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for directory in run tmp dev; do mount -t tmpfs tmpfs "$root/$directory"; done
for device in null zero full random urandom tty; do
    touch "$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root"/dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mkdir -p "$root$checkout" "$root/var/lib/tng" "$root/opt/tng"
mount --bind "$checkout" "$root$checkout"
mount --bind "$state/var" "$root/var/lib/tng"

rm -rf "$root"/etc/systemd/system/* "$root"/lib/systemd/system/*.wants "$root"/lib/systemd/system-generators
: >"$root/etc/fstab"
: >"$root/etc/machine-id"
cp -r "$state/etc/." "$root/etc/"
for program in tng tng-runtime; do ln -sf "$checkout/.venv/bin/$program" "$root/usr/bin/$program"; done
exec chroot "$root" env -i container=tng PATH=/usr/sbin:/usr/bin:/sbin:/bin NOTIFY_SOCKET="@$cgroup" \
    /lib/systemd/systemd --system --unit=boot.target --show-status=false
