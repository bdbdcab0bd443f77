#!/usr/bin/env bash
# In a mount and process namespace of its own: fresh.sh BASE SCRATCH DOCUMENT DEB...
# BASE is a minimal Debian, and stays as it is: what is written goes to SCRATCH and is lost. The packages are fetched
# with the host's network; everything of ours runs in a network namespace of its own.
set -euo pipefail
base=$1 scratch=$2 document=$3
shift 3

mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch"/{upper,work,root}
root=$scratch/root
mount -t overlay overlay -o "lowerdir=$base,upperdir=$scratch/upper,workdir=$scratch/work" "$root"
cp /etc/resolv.conf "$root/etc/"
mount -t proc proc "$root/proc"
mkdir "$root/dist"
cp "$@" "$root/dist/"
cp "$document" "$root/document.json"
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
chroot "$root" apt-get update -qq
chroot "$root" sh -c 'apt-get install -y -qq --no-install-recommends --download-only /dist/tng_*.deb' >"$scratch/log" 2>&1 ||
    { cat "$scratch/log"; exit 1; }

cat >"$root/steps.sh" <<'STEPS'
set -eux
ip link set lo up 2>/dev/null || true
apt_get() { apt-get -y -qq --no-install-recommends "$@"; }
apt_get install /dist/tng_*.deb
tng --version
tng-runtime --version
getent passwd tng
tng check /document.json
tng compile -o /var/lib/tng/demo /document.json
tng-runtime guard /var/lib/tng/demo
nft list table inet tng >/dev/null
# Nobody writes bytecode beside the packages on the Python that it was compiled for.
if [ -x /usr/bin/python3.11 ]; then dpkg --verify tng; test -z "$(find /opt/tng/lib/python3.11 -newer /steps.sh -type f)"; fi
# The next version, and there and back to the package without the compiler: the rules stay all the while.
apt_get install --reinstall /dist/tng_*.deb
nft list table inet tng >/dev/null
apt_get install /dist/tng-runtime_*.deb
test ! -e /usr/bin/tng
tng-runtime guard /var/lib/tng/demo
apt_get install /dist/tng_*.deb
nft list table inet tng >/dev/null
# What was removed leaves the host closed and nothing that runs, and what was purged leaves nothing.
tng-runtime run /var/lib/tng/demo & run=$!
until tng status; do kill -0 "$run" && sleep 1; done
apt_get remove tng
wait "$run"
test ! -e /opt/tng
nft list table inet tng >/dev/null
apt_get purge tng
test -z "$(nft list tables)"
test ! -e /etc/tng && test ! -e /var/lib/tng && test ! -e /run/tng
! getent passwd tng
apt_get purge tng-runtime
test -z "$(find /etc /opt /usr /var/lib /run -name '*tng*' | grep -v libctng || true)"
STEPS
unshare --net chroot "$root" sh /steps.sh >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
