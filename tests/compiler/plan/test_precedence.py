"""Who wins where two entries match, against brute force over every packet of a small world."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.plan.oracle import Packet, matches, names, winner
from packets.make import entry
from tng_compiler.algebra.budget import Budget
from tng_compiler.model.types import CgroupPath, Entry
from tng_compiler.plan.precedence import Precedence
from tng_compiler.plan.precedence import precedence as within_budget


def precedence(some: list[Entry], steps: float = 1e6) -> Precedence:
    """Compare within a budget that nothing here needs."""
    return within_budget(some, Budget(steps))


PATHS = ["a", "a/b", "a/b/c", "d"]
PLACES = ["", "a", "a/x", "a/b", "a/b/c", "a/b/c/y", "d", "e"]
BASE = 10 << 24
WORLD = [
    Packet(version, address, port, cgroup, local)
    for version, address, port, cgroup, local in product(
        (4, 6), (BASE, BASE + 1, BASE + 2, BASE + 3, BASE + 9), (1, 2, 3, 4, 5, 6, 9), PLACES, (False, True)
    )
]
_RANGES = st.tuples(st.integers(1, 4), st.integers(0, 2)).map(lambda pair: {"port": pair[0], "port_end": sum(pair)})
_HOSTS = st.sampled_from(["10.0.0.0/32", "10.0.0.1/32", "10.0.0.2/31", "10.0.0.0/30", "10.0.0.0/31", "0.0.0.0/0"])
_ITEMS = st.one_of(
    _RANGES,
    st.builds(lambda host: {"host": host}, _HOSTS),
    st.builds(lambda host, ports: {"host": host, **ports}, _HOSTS, _RANGES),
)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    """Two to four egress entries."""
    made = []
    for index in range(draw(st.integers(2, 4))):
        some = draw(st.lists(_ITEMS, min_size=1, max_size=3))
        local = draw(st.booleans())
        captured = draw(st.lists(st.sampled_from(PATHS), max_size=2, unique=True))
        exempt = draw(st.lists(st.sampled_from(PATHS), max_size=1))
        made.append(entry("egress", index, some, local=local, cgroup=captured, nocgroup=exempt))
    return made


@settings(max_examples=150)
@given(entries())
def test_items_are_shadowed_exactly_where_an_earlier_entry_wins(some: list[Entry]) -> None:
    found = precedence(some)
    for position, later in enumerate(some):
        for item in later.netfilter.capture_dst or ():
            own = [packet for packet in WORLD if matches(later, packet) and names(item, packet)]
            lost = [packet for packet in own if (winner(some, packet) or 0) < position]
            fate = found.fates[item.pointer]
            assert (fate.winner is not None) == bool(lost), item
            if own:
                assert fate.alive == (len(lost) < len(own)), item
            if fate.winner:
                cgroup = fate.sender.cgroup if fate.sender else ""
                local = fate.sender.local if fate.sender else False
                version = 4 if fate.family == "ipv4" else 6
                witness = Packet(version, fate.address, fate.port, cgroup, local)
                assert matches(later, witness)
                assert names(item, witness)
                assert winner(some, witness) is not None
                assert matches(some[fate.winner.entry], witness)
                assert fate.winner.entry < position


def test_one_entry_shadows_nobody() -> None:
    assert precedence([entry("ingress", 0, [{"port": 1}, {"port": 1}])]).fates == {}


def test_a_path_is_not_inside_of_one_that_only_begins_alike() -> None:
    paths = (CgroupPath("/x", "a.slice", 1), CgroupPath("/y", "a.slice2", 1))
    some = [
        entry("ingress", 0, [{"port": 1}], cgroup=[paths[0].path]),
        entry("ingress", 1, [{"port": 1}], cgroup=[paths[1].path]),
    ]
    assert [fate for fate in precedence(some).fates.values() if fate.winner] == []


def test_more_nesting_than_can_be_compared_is_said() -> None:
    some = [entry("ingress", index, [{"port": index + 1}]) for index in range(100)]
    some.append(entry("ingress", 100, [{"host": f"10.0.{n // 250}.{n % 250}"} for n in range(1200)]))
    assert precedence(some).complete
    assert not precedence(some, 1000).complete
