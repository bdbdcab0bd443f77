"""A whole boot with the real systemd, on a host of the lab: see machine.sh."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from packets.cgroups import with_cgroups
from tng_demo.lab import Host
from tng_demo.process import Process

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("machine.sh")
PATIENCE = 90.0

_TARGET = """[Unit]
Requires=sysinit.target
Wants=systemd-journald.service {wants}
After=sysinit.target network-online.target {wants}
AllowIsolate=yes
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted host: what holds it, and the process that is 1 inside."""

    host: Host
    process: Process
    pid: int

    def systemctl(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run systemctl inside; raises ``CalledProcessError`` unless ``check`` is False."""
        return self.inside("systemctl", "--no-pager", *argv, check=check)

    def inside(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program inside."""
        command = ["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", *argv]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert not check or done.returncode == 0, f"{argv}: {done}\n{self.process.output()}"
        return done

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--value", "--property", name, unit).stdout.strip()


def install(host: Host, units: Mapping[str, str], documents: Mapping[str, str], enabled: Mapping[str, str]) -> None:
    """Put our units and ``units`` (by name) and documents (text by path in /etc) where ``boot`` takes them from.

    ``enabled``: by unit, the one in whose ``.wants`` it is.
    """
    system = host.state / "etc/systemd/system"
    system.mkdir(parents=True, exist_ok=True)
    for name in ("tng@.service", "tng-guard@.service"):
        (system / name).write_bytes(files("tng_compiler.cli").joinpath("units", name).read_bytes())
    wants = " ".join(unit for unit, by in enabled.items() if by == "boot.target")
    for name, text in (*units.items(), ("boot.target", _TARGET.format(wants=wants))):
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(text)
    for unit, by in sorted(enabled.items()):
        link = system / f"{by}.wants" / unit
        link.parent.mkdir(exist_ok=True)
        template = f"{unit.split('@')[0]}@.service" if "@" in unit else unit
        if not link.is_symlink():
            link.symlink_to(f"../{template}")
    for path, document in documents.items():
        written = host.state / "etc" / path
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(document)


@contextlib.contextmanager
def booted(host: Host) -> Iterator[Machine]:
    """Boot what was installed, to the end of boot.target; at the end of the block it loses its power."""
    cgroup = f"tng-boot-{os.getpid()}-{host.namespace}"
    process = None
    first = -1
    try:
        with host.inside():
            told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Closed when it has booted: it says more, and would wait for somebody to read it.
        with told:
            told.bind(f"\0{cgroup}")
            told.settimeout(PATIENCE)
            process = host.start(str(SCRIPT), str(host.state), str(ROOT), cgroup)
            _await(process, told)
        machine = Machine(host, process, _first(process.pid))
        first = os.pidfd_open(machine.pid)
        try:
            yield machine
        finally:
            # pytest shows it if the test fails.
            print(machine.inside("journalctl", "--no-pager", "--boot", check=False).stdout)
    finally:
        _switch_off(host, process, first, cgroup)


def _await(process: Process, told: socket.socket) -> None:
    try:
        while b"READY=1" not in told.recv(4096):
            pass
    except TimeoutError:
        raise AssertionError(f"it did not boot: {process.output()}") from None


def _switch_off(host: Host, process: Process | None, first: int, cgroup: str) -> None:
    if process is not None:
        process.kill()
    if first >= 0:
        # Process 1 is gone when all others of its namespace are (pid_namespaces(7)).
        select.select([first], [], [], PATIENCE)
        os.close(first)
    remove = f"find /sys/fs/cgroup/{cgroup} -depth -type d -exec rmdir {{}} ';'"
    subprocess.run(with_cgroups(["sh", "-c", remove]), check=False, capture_output=True)
    shutil.rmtree(host.state / "layers", ignore_errors=True)


def _first(outer: int) -> int:
    children = Path(f"/proc/{outer}/task/{outer}/children").read_text(encoding="ascii").split()
    assert len(children) == 1, children
    return int(children[0])
