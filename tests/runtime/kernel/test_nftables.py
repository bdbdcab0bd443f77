"""The table against a real kernel, in a network namespace of its own."""

from __future__ import annotations

import os
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


def test_other_tables_are_not_touched(hosts: Lab) -> None:
    nft(hosts, "add", "table", "inet", "tng_other")
    nftables.load(COUNTING, "tng")
    nftables.remove("tng")
    assert nft(hosts, "list", "tables").strip() == "table inet tng_other"


@pytest.mark.parametrize("elements", ["10.0.0.0/8, 192.0.2.1", '192.0.2.1 comment "a } b", 198.51.100.0/24', ""])
def test_kept_sets_keep_their_elements_over_a_replace(hosts: Lab, elements: str) -> None:
    nftables.load(WITH_SET, "tng", ["peers"])
    if elements:
        nft(hosts, "add", "element", "inet", "tng", "peers", "{", elements, "}")
    before = nftables.listing("tng")
    nftables.load(WITH_SET, "tng", ["peers"])
    assert nftables.listing("tng") == before
    nftables.load(WITH_SET, "tng")
    assert "elements" not in (nftables.listing("tng") or "")


def test_a_set_kept_for_the_first_time_starts_empty(hosts: Lab) -> None:
    nftables.load(COUNTING, "tng")
    nftables.load(WITH_SET, "tng", ["peers"])
    assert "set peers" in (nftables.listing("tng") or "")


def test_elements_that_no_longer_fit_leave_the_old_rules(hosts: Lab) -> None:
    nftables.load(WITH_SET, "tng")
    nft(hosts, "add", "element", "inet", "tng", "peers", "{", "192.0.2.1", "}")
    before = nftables.listing("tng")
    with pytest.raises(HostError, match="was not loaded"):
        nftables.load(WITH_SET.replace("ipv4_addr", "ipv6_addr"), "tng", ["peers"])
    assert nftables.listing("tng") == before


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
