"""One run per table and network namespace, whatever a local user or a SIGKILL does."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tng_demo import tunnel
from tng_demo.lab import Lab
from tng_runtime.errors import HostError
from tng_runtime.kernel import instance, nftables

HOLDER = """
import sys
from pathlib import Path
from tng_runtime.kernel.instance import hold
with hold(sys.argv[1], Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_run(table: str, locks: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until its standard input ends."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    argv = [sys.executable, "-c", HOLDER, table, str(locks)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    return tmp_path / "tng"


def test_75_a_second_run_is_told_who_holds_the_table(locks: Path) -> None:
    with another_run("tng", locks) as holder, pytest.raises(HostError) as caught, instance.hold("tng", locks):
        pass
    assert f"process {holder.pid}" in caught.value.message
    assert f"kill -TERM {holder.pid}" in caught.value.hint
    assert caught.value.exit_code == 3


def test_another_table_is_another_instance(locks: Path) -> None:
    with another_run("tng", locks), instance.hold("tng_second", locks):
        assert len(list(locks.iterdir())) == 2


def test_the_lock_ends_with_the_run_and_leaves_nothing(locks: Path) -> None:
    with instance.hold("tng", locks):
        assert locks.is_dir()
    assert not locks.exists()


def test_75_no_other_user_can_open_the_lock(locks: Path) -> None:
    locks.mkdir(mode=0o755)
    with instance.hold("tng", locks):
        assert [path.stat().st_mode & 0o777 for path in locks.iterdir()] == [0o600]


def test_the_compiled_documents_go_with_their_run(locks: Path) -> None:
    """Its own and those of a process that is gone; not another's (process 1 is always there), not another table's."""
    own, gone, alive, second = f"tng.{os.getpid()}", "tng.99999999", "tng.1", f"tng_second.{os.getpid()}"
    for name in (own, gone, alive, second):
        (locks / name).mkdir(parents=True)
        (locks / name / "ruleset.nft").touch()
    with instance.hold("tng", locks):
        assert (locks / own / "ruleset.nft").exists()
    assert sorted(path.name for path in locks.iterdir()) == [alive, second]


def test_documents_stay_while_another_run_needs_them(locks: Path) -> None:
    """Those of a process that is gone, by the link of one that lives (1 always does); then they go too."""
    (locks / "tng.99999999").mkdir(parents=True)
    (locks / "tng.1").symlink_to("tng.99999999")
    (locks / "tng.99999998").symlink_to("tng.99999999")
    with instance.hold("tng", locks):
        pass
    assert sorted(path.name for path in locks.iterdir()) == ["tng.1", "tng.99999999"]
    (locks / "tng.1").unlink()
    with instance.Lock("tng", locks) as lock:
        lock.acquire()
        lock.keep(locks / "tng.99999999")
        lock.keep(locks / "tng_second.1")
        with another_run("tng_second", locks):
            pass
        assert (locks / f"tng.{os.getpid()}").resolve() == locks / "tng.99999999"
    assert [path.name for path in locks.iterdir() if path.name.startswith("tng.")] == []


def test_75_the_documents_of_a_run_that_came_second_go_and_those_of_the_first_stay(locks: Path) -> None:
    with another_run("tng", locks) as holder:
        for pid in (holder.pid, os.getpid()):
            (locks / f"tng.{pid}").mkdir()
        with pytest.raises(HostError), instance.hold("tng", locks):
            pass
        assert [path.name for path in locks.iterdir() if path.is_dir()] == [f"tng.{holder.pid}"]


def test_the_lock_of_a_killed_run_is_free(locks: Path) -> None:
    with another_run("tng", locks) as holder:
        holder.kill()
        holder.wait()
    assert len(list(locks.iterdir())) == 1
    with instance.hold("tng", locks):
        pass
    assert not locks.exists()


def test_locks_of_namespaces_that_are_gone_are_removed_and_others_are_not(locks: Path) -> None:
    """Held by nobody, whatever an instance is called; and nobody who wants one at that moment is turned away."""
    here = Path("/proc/self/ns/net").stat().st_ino
    locks.mkdir(mode=0o700)
    gone = ["tng.1.lock", "tng.1.sock", "tng_web.2.lock", "tng_web.2.sock"]
    stay = ["tng.x.lock", "else.1.lock", "tng.3.sock"]
    for name in (*gone, *stay):
        (locks / name).touch()
    (locks / "tng.4.lock").symlink_to("tng.x.lock")
    with (locks / "tng.5.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with instance.hold("tng", locks):
            left = {path.name for path in locks.iterdir()}
    assert left == {*stay, "tng.4.lock", "tng.5.lock", f"tng.{here}.lock"}
    with (locks / f"tng.{here}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        threading.Timer(0.05, held.close).start()
        with instance.hold("tng", locks):
            assert (locks / f"tng.{here}.lock").read_text() == f"{os.getpid()}\n"


FULL = """
mount -t tmpfs -o mode=700,{size} none /run/tng
touch /run/tng/room
dd if=/dev/zero of=/run/tng/room bs=1k count=4 2>/dev/null
{program} {directory}
"""


@pytest.mark.netns
@pytest.mark.parametrize("size", ["size=4k", "nr_inodes=2", "nr_inodes=3"])
def test_a_full_directory_of_state_is_no_bug_of_ours(hosts: Lab, size: str) -> None:
    host = hosts["client"]
    document = {"add_ingress": [{"netfilter": {"capture_dst": {"port": 8080}}, "no_ra": True}]}
    config = tunnel.write_config(host.state / "config.json", document)
    host.run(tunnel.TNG, "compile", str(config), "-o", str(host.state / "compiled"))
    host.run("mkdir", "-p", "/run/tng")
    script = FULL.format(size=size, program=f"{tunnel.TNG}-runtime run", directory=host.state / "compiled")
    done = host.run("unshare", "--mount", "sh", "-c", script, check=False)
    assert done.returncode == 3, done
    assert "No space left on device" in done.stderr
    assert "df -i /run/tng" in done.stderr
    assert "bug" not in done.stderr


def test_the_lock_is_not_inherited_by_a_program_that_the_run_starts(locks: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        with instance.hold("tng", locks):
            late = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
        with instance.hold("tng", locks), late:
            late.kill()
        child.kill()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_75_a_directory_that_others_may_write_to_is_refused(locks: Path, mode: int) -> None:
    locks.mkdir()
    locks.chmod(mode)
    with pytest.raises(HostError, match="others could hold the lock"), instance.hold("tng", locks):
        pass
    assert list(locks.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_75_a_directory_of_another_user_is_refused(locks: Path) -> None:
    locks.mkdir(mode=0o700)
    os.chown(locks, 65534, 65534)
    with pytest.raises(HostError, match="others could hold the lock"), instance.hold("tng", locks):
        pass


def test_75_a_link_in_the_place_of_the_directory_is_refused(locks: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    locks.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="not a directory that this user alone"), instance.hold("tng", locks):
        pass


def test_a_link_in_the_place_of_the_lock_is_not_followed(locks: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    locks.mkdir(mode=0o700)
    (locks / f"tng.{Path('/proc/self/ns/net').stat().st_ino}.lock").symlink_to(victim)
    with pytest.raises(HostError), instance.hold("tng", locks):
        pass
    assert victim.read_text() == "precious"


@pytest.mark.netns
def test_each_network_namespace_has_an_instance_of_its_own(hosts: Lab, locks: Path) -> None:
    with instance.hold("tng", locks), hosts["client"].inside(), instance.hold("tng", locks):
        assert len(list(locks.iterdir())) == 2


@pytest.mark.netns
def test_down_removes_what_a_killed_run_left(hosts: Lab, locks: Path) -> None:
    with hosts["client"].inside():
        nftables.load("table inet tng { }", "tng")
        assert instance.down("tng", locks)
        assert not nftables.exists("tng")
        assert not instance.down("tng", locks)


@pytest.mark.netns
def test_down_leaves_a_live_run_and_its_rules_alone(hosts: Lab, locks: Path) -> None:
    with hosts["client"].inside():
        nftables.load("table inet tng { }", "tng")
        with another_run("tng", locks) as holder:
            with pytest.raises(HostError, match=f"process {holder.pid}"):
                instance.down("tng", locks)
            assert nftables.exists("tng")
