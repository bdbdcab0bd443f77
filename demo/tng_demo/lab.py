"""Real hosts on one machine: network namespaces joined by veth pairs, each with an IPv4 and an IPv6 address.

Two hosts are joined by one cable; more hang on a bridge in a namespace of its own. Nothing is added to the
machine's own network. Every program on a host sees that host's private ``/run``, so that sockets and locks have
their usual paths and leave nothing on the machine; what it keeps for longer goes to the host's STATE_DIRECTORY.

A lab lives in ``/var/lib/tng-lab/<lab>`` and holds a lock there. The next lab removes those whose owner is dead,
with all that still runs in them; a lab that was kept on purpose is left alone until ``remove`` is called for
it.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tng_demo import kernel
from tng_demo.process import PATIENCE, Process

STATE = Path("/var/lib/tng-lab")
INTERFACE = "eth0"

_numbers = itertools.count()
_KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Host:
    """One host; every other host of the lab reaches it at ``ipv4`` and at ``ipv6``."""

    name: str
    namespace: str
    ipv4: str
    ipv6: str
    state: Path
    processes: list[Process] = field(default_factory=list, compare=False, repr=False)

    def command(self, *argv: str) -> list[str]:
        """The command line, for any shell of the machine, that runs ``argv`` on this host."""
        return [*_enter(self.namespace, self.state / "run"), *argv]

    def run(
        self,
        *argv: str,
        check: bool = True,
        timeout: float = PATIENCE,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end and capture its output; with ``check`` a non-zero exit raises ``LabError``."""
        done = subprocess.run(
            self.command(*argv),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=None if env is None else {**os.environ, **env},
            input=stdin if stdin is not None else "",
            check=False,
        )
        if check and done.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def start(self, *argv: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a program; it is killed with the lab. Its output goes to a file, see ``Process``."""
        log = self.state / f"{len(self.processes)}-{Path(argv[0]).name}.log"
        process = Process.start(self.command(*argv), log, env=env)
        self.processes.append(process)
        return process

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread into the network of this host: the sockets that it makes belong there."""
        with kernel.network_of(Path("/run/netns") / self.namespace):
            yield

    def wait_for_port(self, port: int, host: str | None = None, deadline: float = PATIENCE) -> None:
        """Return once a TCP connection from this host to ``host`` (its own IPv4 address if None) is accepted."""
        end = time.monotonic() + deadline
        with self.inside():
            while True:
                try:
                    socket.create_connection((host or self.ipv4, port), timeout=1).close()
                except OSError as error:
                    if time.monotonic() > end:
                        logs = "".join(process.output()[-2000:] for process in self.processes)
                        raise LabError(f"{self.name}: nothing listens on port {port}: {error}\n{logs}") from None
                    time.sleep(0.02)  # a listening socket is not announced by any event
                else:
                    return


class LabError(Exception):
    """The lab could not be built, or a program in it failed."""


@dataclass(frozen=True, slots=True)
class Lab:
    """Hosts by name."""

    name: str
    hosts: Mapping[str, Host]

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def keep(self) -> None:
        """Leave hosts and programs in place when the lab's context ends; ``remove(lab.name)`` removes them."""
        (STATE / self.name / _KEPT).touch()


@contextlib.contextmanager
def lab(*hosts: str, name: str | None = None) -> Iterator[Lab]:
    """A lab of at least two ``hosts``, removed at the end, also on failure. Needs root.

    Addresses: 10.77.0.N and fd77::N, N counting from 1.
    """
    sweep()
    name = name or f"{os.getpid()}-{next(_numbers)}"
    state = STATE / name
    owner = _own(state)
    built = Lab(name, {host: _host(name, state, host, number) for number, host in enumerate(hosts, 1)})
    try:
        _build(built)
        yield built
    finally:
        if not (state / _KEPT).exists():
            _take_down(built)
        os.close(owner)


def remove(name: str) -> None:
    """Remove the lab ``name``, with every process in its namespaces; nothing happens if there is none."""
    for namespace in _namespaces(name):
        for pid in _output("ip", "netns", "pids", namespace).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _output("ip", "netns", "del", namespace)
    shutil.rmtree(STATE / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        STATE.rmdir()


def command_on(name: str, host: str, *argv: str) -> list[str]:
    """The command line that runs ``argv`` on a host of the lab ``name``, which another process has built."""
    state = STATE / name / host
    if not state.is_dir():
        raise LabError(f"there is no lab {name} with a host {host}")
    return [*_enter(f"tng-{name}-{host}", state / "run"), *argv]


def sweep() -> None:
    """Remove the labs whose owner died before it could."""
    for state in list(STATE.glob("[!.]*")):
        if (state / _KEPT).exists():
            continue
        try:
            os.close(_lock(state))
        except OSError:  # alive, or gone in this moment
            continue
        remove(state.name)


def _take_down(built: Lab) -> None:
    try:
        for process in (process for host in built.hosts.values() for process in host.processes):
            process.kill()
    finally:
        remove(built.name)


def _own(state: Path) -> int:
    # It gets its name only once it is locked: a sweep never sees it without its owner.
    unnamed = STATE / f".{state.name}"
    unnamed.mkdir(parents=True)
    owner = _lock(unnamed)
    (unnamed / "owner").write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        unnamed.rename(state)
    except OSError:
        os.close(owner)
        shutil.rmtree(unnamed)
        raise LabError(f"a lab named {state.name} is there already; remove it first") from None
    return owner


def _lock(state: Path) -> int:
    descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _host(lab_name: str, state: Path, name: str, number: int) -> Host:
    (state / name / "run").mkdir(parents=True)
    return Host(name, f"tng-{lab_name}-{name}", f"10.77.0.{number}", f"fd77::{number}", state / name)


def _build(built: Lab) -> None:
    hosts = list(built.hosts.values())
    outside = [f"netns add {host.namespace}" for host in hosts]
    switch, ports = f"tng-{built.name}-switch", []
    if len(hosts) == 2:
        left, right = (host.namespace for host in hosts)
        outside.append(f"link add {INTERFACE} netns {left} type veth peer name {INTERFACE} netns {right}")
    else:
        outside.append(f"netns add {switch}")
        ports = [f"port{number}" for number in range(len(hosts))]
        outside += [
            f"link add {INTERFACE} netns {host.namespace} type veth peer name {port} netns {switch}"
            for host, port in zip(hosts, ports, strict=True)
        ]
    _ip(outside)
    if ports:
        joined = [f"link set {port} master bridge up" for port in ports]
        _ip(["link add bridge type bridge", "link set bridge up", *joined], switch)
    for host in hosts:
        # Duplicate address detection would keep IPv6 from working for about a second.
        with host.inside(), contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{INTERFACE}/accept_dad").write_text("0", encoding="ascii")
        addresses = [f"addr add {host.ipv4}/24 dev {INTERFACE}", f"addr add {host.ipv6}/64 dev {INTERFACE} nodad"]
        _ip(["link set lo up", *addresses, f"link set {INTERFACE} up"], host.namespace)


def _enter(namespace: str, run: Path) -> list[str]:
    # `ip netns exec` would also mount a new /sys, without the cgroups in it.
    script = 'mount --bind "$0" /run && export STATE_DIRECTORY="${0%/run}/lib" && exec "$@"'
    return [
        *("nsenter", f"--net=/run/netns/{namespace}", "unshare", "--mount", "--propagation", "slave"),
        *("sh", "-c", script, str(run)),
    ]


def _namespaces(name: str) -> Sequence[str]:
    there = Path("/run/netns")
    return sorted(path.name for path in there.glob(f"tng-{name}-*")) if there.is_dir() else ()


def _ip(commands: Sequence[str], namespace: str | None = None) -> None:
    inside = ["-n", namespace] if namespace else []
    text = "\n".join(commands)
    done = subprocess.run(["ip", *inside, "-batch", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"ip {' '.join(inside)}: {done.stderr.strip()}\n{text}")


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
