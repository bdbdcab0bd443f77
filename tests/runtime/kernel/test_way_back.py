"""The routing rule and the route by which answers come back: made once, found by name of the table, removed whole."""

from __future__ import annotations

import pytest

from tng_demo.lab import Host, Lab
from tng_runtime.errors import HostError
from tng_runtime.kernel import way_back
from tng_schema import contract

pytestmark = pytest.mark.netns

TNG, OTHER = contract.way_back("tng"), contract.way_back("tng_other")


def routing(host: Host) -> str:
    """All rules, and all routes but those of link-local addresses and multicast, which the kernel adds in its time."""
    shown = [host.run("ip", "-details", family, "rule", "show").stdout for family in ("-4", "-6")]
    shown += [host.run("ip", family, "route", "show", "table", "all").stdout for family in ("-4", "-6")]
    lines = "".join(shown).splitlines(keepends=True)
    return "".join(line for line in lines if "fe80::" not in line and "ff00::/8" not in line)


def test_it_is_made_once_and_removed_whole(hosts: Lab) -> None:
    host = hosts["server"]
    before = routing(host)
    with host.inside():
        assert way_back.keep("tng", TNG)
        made = routing(host)
        assert made.count("116:\tfrom all fwmark 0x3000 lookup 29799 proto kernel") == 2
        assert made.count("local default dev lo table 29799") == 2
        assert not way_back.keep("tng", TNG)
        assert routing(host) == made
        assert way_back.keep("tng", None)
        assert not way_back.keep("tng", None)
    assert routing(host) == before


def test_that_of_another_instance_is_another(hosts: Lab) -> None:
    host = hosts["server"]
    with host.inside():
        way_back.keep("tng", TNG)
        alone = routing(host)
        way_back.keep("tng_other", OTHER)
        assert routing(host) != alone
        way_back.keep("tng_other", None)
        assert routing(host) == alone


def test_what_the_kernel_refuses_is_said(hosts: Lab) -> None:
    """A rule that leads to the table 0 leads nowhere (net/core/fib_rules.c)."""
    with hosts["server"].inside(), pytest.raises(HostError, match="were not made"):
        way_back.keep("tng", contract.WayBack(TNG.mark, 0, TNG.priority))


@pytest.mark.parametrize("table", ["tng", "tng_a", "tng_other", "tng_" + "z" * 32])
def test_no_mark_has_a_bit_that_others_look_at(table: str) -> None:
    found = contract.way_back(table)
    assert found.mark & (0xFFFF0000 | 0xC000 | 0x0F00 | 0x80) == 0
    assert found.mark != 565
    assert 0 < found.priority < 32766
