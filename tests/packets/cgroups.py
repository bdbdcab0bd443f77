"""Control groups for tests, through a mount of cgroup2 that nothing else sees: sockets that were made inside of one.

The kernel notes a socket's cgroup when the socket is made (cgroups(7)), so a helper process joins the group, makes
sockets and hands them over (SCM_RIGHTS, unix(7)). nft looks for paths below /sys/fs/cgroup, so that is where it mounts.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tng_demo.lab import Host

_MOUNT = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
_MAKER = """
import os, socket, sys
path, channel, families = sys.argv[1], socket.socket(fileno=int(sys.argv[2])), sys.argv[3:]
with open(f"/sys/fs/cgroup/{path}/cgroup.procs", "w") as procs:
    procs.write(str(os.getpid()))
made = [socket.socket(getattr(socket, family), socket.SOCK_STREAM) for family in families]
socket.send_fds(channel, [b"x"], [sock.fileno() for sock in made])
with open("/sys/fs/cgroup/cgroup.procs", "w") as procs:
    procs.write(str(os.getpid()))
"""


def with_cgroups(argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` with cgroup2 mounted on /sys/fs/cgroup."""
    return ["unshare", "--mount", "sh", "-c", _MOUNT, "sh", *argv]


@contextlib.contextmanager
def cgroups(*paths: str) -> Iterator[None]:
    """Make the cgroups, parents first, and remove them at the end."""
    made: list[str] = []
    for path in paths:
        parts = path.split("/")
        made += [parent for end in range(1, len(parts) + 1) if (parent := "/".join(parts[:end])) not in made]
    directories = [f"/sys/fs/cgroup/{path}" for path in made]
    if made:
        subprocess.run(with_cgroups(["mkdir", "-p", *directories]), check=True)
    try:
        yield
    finally:
        if made:
            subprocess.run(with_cgroups(["rmdir", *reversed(directories)]), check=False)


def remake(*paths: str) -> None:
    """Remove cgroups, those below first, and make them again: each has another identity then."""
    directories = [f"/sys/fs/cgroup/{path}" for path in paths]
    script = 'for one; do rmdir "$one"; done; shift $(($# - 1)); exec mkdir -p "$@"'
    subprocess.run(with_cgroups(["sh", "-ec", script, "sh", *sorted(directories, reverse=True)]), check=True)
    subprocess.run(with_cgroups(["mkdir", "-p", *directories]), check=True)


def socket_in(host: Host, cgroup: str, family: socket.AddressFamily) -> socket.socket:
    """A TCP socket on ``host`` that belongs to ``cgroup``."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv = [sys.executable, "-c", _MAKER, cgroup, str(theirs.fileno()), family.name]
        subprocess.run(
            ["nsenter", f"--net=/run/netns/{host.namespace}", *with_cgroups(argv)],
            pass_fds=[theirs.fileno()],
            check=True,
            timeout=20,
        )
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    return socket.socket(fileno=descriptors[0])
