"""The sets capture exactly what the configuration says, no more and no less: against brute force, text and kernel."""

from __future__ import annotations

import random
import re
import subprocess
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.plan.oracle import Packet, matches
from packets.make import config, entry
from tng_compiler.algebra.space import Region
from tng_compiler.emit import nft
from tng_compiler.model.types import CaptureDst, Config, Network, PortRange
from tng_compiler.plan.build import build_plan
from tng_compiler.plan.verify import verify

# A corner of each family, so that random items touch, nest and repeat.
BASE = {4: int(ip_address("10.0.0.0")), 6: int(ip_address("fd00::"))}
BITS = {4: 32, 6: 128}
CORNER = 5
PORTS = st.integers(1, 12) | st.sampled_from([65534, 65535])


@st.composite
def items(draw: st.DrawFn) -> CaptureDst:
    """An item of ``capture_dst`` in the corner, or everywhere."""
    ports = draw(st.none() | st.tuples(PORTS, PORTS).map(lambda pair: PortRange(min(pair), max(pair))))
    version = draw(st.sampled_from([0, 4, 4, 6]))
    network = None
    if version:
        length = draw(st.sampled_from([0, 1, *range(BITS[version] - CORNER, BITS[version] + 1)]))
        address = (
            BASE[version] + draw(st.integers(0, (1 << CORNER) - 1))
            >> (BITS[version] - length)
            << (BITS[version] - length)
        )
        network = Network(4 if version == 4 else 6, address, length)
    return CaptureDst("/x", network, None, ports)


def one_entry(destinations: list[CaptureDst]) -> Config:
    """A document with one ingress."""
    made = entry("ingress", 0, [])
    netfilter = type(made.netfilter)(
        **{
            **{name: getattr(made.netfilter, name) for name in made.netfilter.__slots__},
            "capture_dst": tuple(destinations),
        }
    )
    return Config((type(made)(made.role, made.index, made.pointer, netfilter, made.attest, made.verify),))


def probes() -> list[Packet]:
    """Packets in and around the corner, at every port that matters."""
    ports = [0, *range(1, 14), 40000, 65533, 65534, 65535]
    addresses = [
        (version, BASE[version] + offset) for version in (4, 6) for offset in (*range(-1, (1 << CORNER) + 1), 1 << 20)
    ]
    extremes = [(version, edge) for version in (4, 6) for edge in (0, (1 << BITS[version]) - 1)]
    return [Packet(version, address, port) for version, address in addresses + extremes for port in ports]


PROBES = probes()


def contains(region: Region, packet: Packet) -> bool:
    """Whether a region has the packet's destination."""
    return any(ports.first <= packet.port <= ports.last for ports in region.ports) or any(
        box.first <= packet.address <= box.last and box.ports.first <= packet.port <= box.ports.last
        for box in region.boxes
    )


@settings(max_examples=200)
@given(st.lists(items(), min_size=1, max_size=12))
def test_a_region_is_exactly_the_union_of_its_items(destinations: list[CaptureDst]) -> None:
    document = one_entry(destinations)
    plan, _ = build_plan(document, "0" * 64)
    regions = {4 if region.family == "ipv4" else 6: region for region in plan.entries[0].captured}
    for packet in PROBES:
        found = packet.version in regions and contains(regions[packet.version], packet)
        assert found == matches(document.entries[0], packet), packet
    if plan.entries[0].families:
        verify(plan)


@settings(max_examples=30)
@given(st.lists(items(), min_size=1, max_size=8))
def test_the_text_captures_exactly_the_union_of_the_items(destinations: list[CaptureDst]) -> None:
    document = one_entry(destinations)
    plan, _ = build_plan(document, "0" * 64)
    text = nft.render(plan)
    for packet in PROBES[::7]:
        assert captured_by_text(text, packet) == matches(document.entries[0], packet), packet


@settings(max_examples=30)
@given(st.lists(items(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_and_repetition_of_items_mean_nothing(
    destinations: list[CaptureDst], shuffler: random.Random
) -> None:
    shuffled = [*destinations, *destinations]
    shuffler.shuffle(shuffled)
    one, _ = build_plan(one_entry(destinations), "0" * 64)
    two, _ = build_plan(one_entry(shuffled), "0" * 64)
    assert one == two


def otherwise(item: CaptureDst, chance: random.Random) -> list[CaptureDst]:
    """Destinations that make the same as ``item``: halves of its network, parts of its ports, and one of them twice."""
    networks, ports = [item.network], [item.ports]
    if item.network is not None and item.network.last > item.network.first and chance.random() < 0.7:
        networks = [Network.of(str(half)) for half in ip_network(str(item.network)).subnets()]
    elif item.network is None and chance.random() < 0.7:
        networks = [Network.of("0.0.0.0/0"), Network.of("::/0")]
    first, last = (item.ports.first, item.ports.last) if item.ports else (0, 65535)
    if first < last and chance.random() < 0.7:
        middle = chance.randrange(first, last)
        ports = [PortRange(first, middle), PortRange(chance.randrange(first, middle + 2), last)]
    found = [CaptureDst("/x", network, None, some) for network in networks for some in ports]
    return [*found, found[0]]


@settings(max_examples=150)
@given(st.lists(items(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_same_destinations_are_the_same_plan_in_whatever_pieces(
    destinations: list[CaptureDst], chance: random.Random
) -> None:
    pieces = destinations
    for _ in range(3):
        pieces = [piece for item in pieces for piece in otherwise(item, chance)]
    chance.shuffle(pieces)
    one, _ = build_plan(one_entry(destinations), "0" * 64)
    two, _ = build_plan(one_entry(pieces), "0" * 64)
    assert one.entries[0].captured == two.entries[0].captured


def test_neighbours_with_the_same_ports_become_one_interval() -> None:
    hosts: list[dict[str, object]] = [{"host": f"10.0.0.{last}", "port": 80} for last in range(1, 7)]
    plan, _ = build_plan(config(entry("ingress", 0, hosts)), "0" * 64)
    assert "10.0.0.1-10.0.0.6 . 80\n" in nft.render(plan)


def test_halves_become_the_whole() -> None:
    halves: list[dict[str, object]] = [{"host": "0.0.0.0/1", "port": 80}, {"host": "128.0.0.0/1", "port": 80}]
    plan, _ = build_plan(config(entry("ingress", 0, halves)), "0" * 64)
    (region,) = plan.entries[0].captured
    assert not region.boxes
    assert "meta nfproto ipv4 tcp dport 80 " in nft.render(plan)


@pytest.mark.netns
def test_the_kernel_finds_in_the_set_what_the_items_say() -> None:
    """Random items, loaded by nft, asked back packet by packet (``nft get element``)."""
    chance = random.Random(7)
    hosts = [
        {"host": str(ip_network((BASE[4] + chance.randrange(256) >> bits << bits, 32 - bits))), "port": port,
         "port_end": port + chance.randrange(4)}
        for bits, port in ((chance.choice([0, 0, 1, 2, 4]), chance.randrange(1, 20)) for _ in range(60))
    ]  # fmt: skip
    document = config(entry("ingress", 0, hosts))
    plan, _ = build_plan(document, "0" * 64)
    asked = [Packet(4, BASE[4] + chance.randrange(256), chance.randrange(1, 24)) for _ in range(150)]
    queries = "\n".join(
        f"nft get element inet tng ingress_0_ipv4 '{{ {ip_address(packet.address)} . {packet.port} }}' "
        ">/dev/null 2>&1 && echo yes || echo no"
        for packet in asked
    )
    script = f"set -e\nnft -f -\nset +e\n{queries}\n"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], input=nft.render(plan), text=True, capture_output=True, check=True
    )
    answers = [line == "yes" for line in done.stdout.split()]
    assert answers == [matches(document.entries[0], packet) for packet in asked]
    assert True in answers
    assert False in answers


def captured_by_text(text: str, packet: Packet) -> bool:
    """Read the redirects of the ruleset the way nft does, for one packet."""
    family = "ipv4" if packet.version == 4 else "ipv6"
    chain = text.split("chain ingress_0 {")[1].split("}\n")[0]
    for rule in (line for line in chain.splitlines() if "redirect" in line):
        match = rule.split(" counter ")[0].strip()
        if limited := re.match(r"meta nfproto (ipv[46]) ", match):
            match = match.removeprefix(limited[0])
            if limited[1] != family:
                continue
        if match == "meta l4proto tcp":
            return True
        if match.startswith("tcp dport"):
            if any(_within(span, packet.port) for span in re.findall(r"[\d-]+", match)):
                return True
        elif match.endswith(f"@ingress_0_{family}"):
            elements = text.split(f"set ingress_0_{family} {{")[1].split("elements = {")[1].split("}")[0]
            for element in elements.split(","):
                where, ports = element.strip().split(" . ")
                if _has(where, packet) and _within(ports, packet.port):
                    return True
    return False


def _within(span: str, port: int) -> bool:
    first, _, last = span.partition("-")
    return int(first) <= port <= int(last or first)


def _has(where: str, packet: Packet) -> bool:
    if "/" in where:
        network = ip_network(where)
        return int(network.network_address) <= packet.address <= int(network.broadcast_address)
    first, _, last = where.partition("-")
    return int(ip_address(first)) <= packet.address <= int(ip_address(last or first))


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["eth1", "docker0", "br-*"], ("br-*", "docker0", "eth1")),
        (["br-ab", "br-*", "b*", "bond0", "a"], ("a", "b*")),
        (["b", "b*", "ab*"], ("ab*", "b*")),
        ([], ()),
    ],
)
def test_the_order_of_interfaces_means_nothing(names: list[str], kept: tuple[str, ...]) -> None:
    made = config(entry("ingress", 0, [{"port": 80}], forwarded="capture", interfaces=names))
    assert build_plan(made, "0" * 64)[0].entries[0].forwarded_interfaces == kept
