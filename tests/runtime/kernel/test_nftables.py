"""The table against a real kernel, in a network namespace of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tng_demo.lab import Lab
from tng_runtime.errors import HostError
from tng_runtime.kernel import nftables

pytestmark = pytest.mark.netns

EMPTY = "table inet tng\ndelete table inet tng\n"
COUNTING = EMPTY + "table inet tng {\n\tchain out {\n\t\ttype filter hook output priority -5;\n\t\tcounter\n\t}\n}\n"
WITH_SET = EMPTY + "table inet tng {\n\tset peers {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t}\n}\n"


@pytest.fixture(autouse=True)
def _inside(hosts: Lab) -> Iterator[None]:
    with hosts["client"].inside():
        yield


def nft(hosts: Lab, *argv: str) -> str:
    return hosts["client"].run("nft", *argv).stdout


def test_load_listing_and_remove_leave_nothing(hosts: Lab) -> None:
    assert not nftables.exists("tng")
    assert nftables.listing("tng") is None
    nftables.load(COUNTING, "tng")
    assert nftables.exists("tng")
    assert "counter packets" in (nftables.listing("tng") or "")
    assert nftables.remove("tng")
    assert not nftables.remove("tng")
    assert nft(hosts, "list", "ruleset") == ""


def test_load_replaces_what_a_killed_run_left(hosts: Lab) -> None:
    nftables.load(WITH_SET, "tng")
    nftables.load(COUNTING, "tng")
    nftables.load(COUNTING, "tng")
    assert nft(hosts, "list", "table", "inet", "tng").count("counter packets") == 1
    assert "peers" not in nft(hosts, "list", "table", "inet", "tng")


def test_to_look_at_a_large_table_its_elements_are_not_fetched(hosts: Lab) -> None:
    """Looked at every few seconds; with the elements of all sets each look is a second and 60 MiB."""
    addresses = ", ".join(f"10.{n >> 8}.{n & 255}.0" for n in range(1 << 15))
    other = f"table inet other {{\n\tset many {{\n\t\ttype ipv4_addr\n\t\telements = {{ {addresses} }}\n\t}}\n}}\n"
    text = COUNTING.replace("\tchain", "\tcounter seen { }\n\tchain") + other
    subprocess.run(["nft", "-f", "-"], input=text, check=True, text=True)

    def most() -> int:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # from now on (proc(5))
    before = most()
    assert nftables.exists("tng")
    assert nftables.exists("other")
    assert not nftables.exists("oth")
    assert nftables.counters("tng") == {"seen": 0}
    assert nftables.counters("missing") == {}
    assert "set many" in (nftables.listing("other", terse=True) or "")
    assert most() - before < 16 << 10


def test_other_tables_are_not_touched(hosts: Lab) -> None:
    nft(hosts, "add", "table", "inet", "tng_other")
    nftables.load(COUNTING, "tng")
    nftables.remove("tng")
    assert nft(hosts, "list", "tables").strip() == "table inet tng_other"


CGROUP_SET = "set some { typeof socket cgroupv2 level 1; }\n"


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        pytest.param("nonsense", "syntax error", id="syntax"),
        pytest.param('socket cgroupv2 level 1 "no.such.slice" accept', "no.such.slice", id="69-missing-cgroup"),
        pytest.param("ip daddr @missing accept", "missing", id="69-missing-set"),
    ],
)
def test_a_ruleset_that_the_kernel_does_not_take_changes_nothing(hosts: Lab, rule: str, says: str) -> None:
    nftables.load(WITH_SET, "tng")
    before = nftables.listing("tng")
    with pytest.raises(HostError, match=says) as caught:
        nftables.load(COUNTING.replace("counter", rule), "tng")
    assert caught.value.exit_code == 3
    assert nftables.listing("tng") == before


def test_a_cgroup_that_ends_before_nft_looks_is_looked_for_again(hosts: Lab) -> None:
    """Also where the rules quote other names than cgroups, such as that of an interface."""
    rules = COUNTING.replace("counter", 'oif "lo" accept').replace("chain", CGROUP_SET + "chain", 1)
    looks = iter(['add element inet tng some { "ended.slice" }\n', ""])
    nftables.load(rules, "tng", lambda: next(looks))
    assert 'oif "lo" accept' in (nftables.listing("tng") or "")
    with pytest.raises(HostError, match="ended between"):
        nftables.load(rules, "tng", lambda: 'add element inet tng some { "ended.slice" }\n')


def test_72_without_cap_net_admin_the_reason_is_said(hosts: Lab) -> None:
    program = (
        "from tng_runtime.kernel import nftables\nfrom tng_runtime.errors import HostError\n"
        f"for call in (lambda: nftables.load({COUNTING!r}, 'tng'), lambda: nftables.remove('tng')):\n"
        "    try:\n        call()\n    except HostError as error:\n        print(error.exit_code, error.message)\n"
    )
    argv = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-c", program]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True, timeout=60
    )
    assert (
        done.stdout.splitlines()
        == ["3 no CAP_NET_ADMIN in this network namespace: the rules of the host cannot be changed"] * 2
    )
    assert nft(hosts, "list", "ruleset") == ""


def test_72_without_debians_binding_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nftables, "BINDING", Path("/nonexistent/nftables.py"))
    with pytest.raises(HostError) as caught:
        nftables.load(COUNTING, "tng")
    assert (caught.value.exit_code, caught.value.hint) == (3, "apt install python3-nftables")


def test_the_binding_brings_nothing_else_into_the_process() -> None:
    before = list(sys.path)
    nftables.load(COUNTING, "tng")
    assert sys.path == before
    assert "nftables" not in sys.modules


def test_each_call_works_on_the_namespace_of_its_moment(hosts: Lab) -> None:
    nftables.load(COUNTING, "tng")
    seen: list[bool] = []

    def look() -> None:
        with hosts["server"].inside():
            seen.append(nftables.exists("tng"))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [False]
    assert nftables.exists("tng")


FLOOD = "import os, signal, sys\nwhile True: os.kill(int(sys.argv[1]), signal.SIGUSR1)"


def test_signals_in_the_middle_of_a_load_do_not_make_it_fail() -> None:
    """The kernel gives a transaction up that a signal interrupts (EINTR)."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    with subprocess.Popen([sys.executable, "-c", FLOOD, str(os.getpid())]) as flood:
        try:
            signal.sigwait({signal.SIGUSR1})
            for _ in range(120):
                nftables.load(COUNTING, "tng")
            assert nftables.exists("tng")
        finally:
            flood.kill()
            flood.wait()
            signal.signal(signal.SIGUSR1, before)
