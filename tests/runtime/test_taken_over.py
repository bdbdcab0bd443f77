"""What a worker or a judge could do if somebody else ran in it: tried from inside of the real ones.

docs/security.md says it in a table; each of its rows is tried here, and each attempt has a row.
"""

from __future__ import annotations

import json
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.tunnels import CAPTURE, NO_RA, compiled
from tng_demo.lab import Lab

pytestmark = pytest.mark.netns

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
# What is tried, in the words of the document; each line must come to its end for "yes".
ATTEMPTS = {
    "change a rule": "netfilter()",
    "open a raw socket, or one for whole packets": "either(raw, packets)",
    "read the memory of another process of the instance": "[open(f'/proc/{pid}/mem') for pid in others()]",
    "trace another process": "either(*[lambda pid=pid: call(101, 0x4206, pid, 0, 0) for pid in others()])",
    "signal another process": "either(*[lambda pid=pid: os.kill(pid, 0) for pid in others()])",
    "execute a program": "os.execv('/bin/true', ['true'])",
    "write a file, or make one": "open(MINE, 'w'), open(MINE + '2', 'w')",
    "remove a file": "os.unlink(MINE)",
    "read a file of root's": "open('/etc/shadow')",
    "become another user": "os.setresuid(0, 0, 0)",
    "make a namespace, or enter one": "either(lambda: call(272, 0x10000000), lambda: call(308, 0, 0))",
    "mount, or load a module": "either(lambda: call(165, 0, 0, 0, 0, 0), lambda: call(313, 0, 0, 0))",
    "listen on a port below 1024": "socket.create_server(('127.0.0.1', 1023))",
    "read files that everybody may read": "open('/etc/passwd').read()",
    "send from an address of another host": "borrow()",
    "connect anywhere, past the rules": "mark()",
    "begin a process like itself": "os.fork() or os._exit(0)",
}
PROGRAM = """
import ctypes, errno, json, os, platform, socket, sys
from pathlib import Path
from tng_runtime import __main__, log
from tng_runtime.serve import judge, worker

def others():
    found = [int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()]
    return [pid for pid in found if same_session(pid) and Path(f"/proc/{pid}/comm").read_text().startswith("tng-")]

def same_session(pid):
    try:
        return os.getsid(pid) == os.getsid(0)
    except ProcessLookupError:
        return False

def call(number, *arguments):
    if ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments)) < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")

def either(*acts):
    assert acts
    for act in acts:
        try:
            return act()
        except OSError as error:
            last = error
    raise last

def netfilter():
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)

def raw():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)

def packets():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)

def borrow():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_IP, 19, 1)
        sock.bind(("192.0.2.9", 0))
        sock.connect(("10.77.0.2", 9))
        sock.send(b"x")

def mark():
    socket.socket().setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)

MINE = os.environ["MINE"]

def report(role):
    for number, attempt in enumerate(json.loads(os.environ["ATTEMPTS"])):
        try:
            eval(attempt)
        except OSError as error:
            log.info("attempt", process=role, number=number, done=False, error=errno.errorcode[error.errno])
        else:
            log.info("attempt", process=role, number=number, done=True)
    log.info("attempted", process=role)

def then_report(kind, name, role):
    before = getattr(kind, name)
    async def act(self):
        await before(self)
        report(role)
    setattr(kind, name, act)

then_report(worker.Worker, "tell_when_ready", "worker")
then_report(judge.Judge, "start", "judge")
sys.exit(__main__.main())
"""


@pytest.fixture
def everybodys_file() -> Iterator[Path]:
    # Not below pytest's own directory, into which other users do not get.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        (Path(name) / "file").touch(mode=0o666)
        yield Path(name) / "file"


def documented() -> dict[str, tuple[str, str]]:
    """By what is tried: what the document says of a worker and of a judge."""
    section = DOCUMENT.read_text(encoding="utf-8").partition("## A worker or a judge that was taken over")[2]
    rows = [row.strip("| ").split(" | ") for row in section.partition("\n## ")[0].splitlines() if row.startswith("| ")]
    return {row[0]: (row[1], row[2]) for row in rows if row[1] in ("yes", "no")}


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="its numbers")
def test_the_document_says_what_they_can_do(hosts: Lab, everybodys_file: Path) -> None:
    client = hosts["client"]
    directory = compiled(client, {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}]})
    env = {"ATTEMPTS": json.dumps(list(ATTEMPTS.values())), "MINE": str(everybodys_file)}
    run = client.start(sys.executable, "-c", PROGRAM, "run", str(directory), "--workers", "1", env=env)
    found = {}
    for role in ("worker", "judge"):
        run.wait_for(f"event=attempted process={role}", 60)
        lines = re.findall(rf"event=attempt process={role} number=\d+ done=(\w+)", run.output())
        found[role] = ["yes" if done == "true" else "no" for done in lines]
    tried = dict(zip(ATTEMPTS, zip(found["worker"], found["judge"], strict=True), strict=True))
    assert tried == documented(), run.output()
    assert run.stop() == 0, run.output()
