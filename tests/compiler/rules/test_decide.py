"""The reader of the rules for packets that a reviewer asks about; tests/packets holds it against the kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packets.make import config, entry
from tng_compiler.algebra.space import Family
from tng_compiler.plan.build import build_plan
from tng_compiler.plan.types import Plan
from tng_compiler.rules.decide import Decision, decide
from tng_compiler.rules.lower import lower, owned_guard
from tng_compiler.rules.packet import Connection, Packet, Socket, Way

MARK = 565
OURS, STRANGER = Socket(MARK), Socket(0)
DOCUMENTS = {
    "ingress": config(entry("ingress", 0, [{"port": 8080}])),
    "networks": config(entry("ingress", 0, [{"host": "10.0.0.0/8", "port": 443}, {"host": "2001:db8::/32"}])),
    "everything": config(entry("ingress", 0, [])),
    "bypass": config(entry("ingress", 0, [{"port": 8080}], forwarded="bypass", udp="bypass")),
    "cgroup": config(entry("ingress", 0, [{"port": 8080}], cgroup=["a.slice"], nocgroup=["a.slice/b"])),
    "ipset": config(entry("ingress", 0, [{"ipset": "peers", "port": 8080}])),
    "egress": config(entry("egress", 0, [{"port": 8080}])),
    "service": config(entry("egress", 0, [{"port": 8080}], cgroup=["a.slice"])),
    "exempt": config(entry("egress", 0, [{"port": 8080}], nocgroup=["a.slice"])),
    "original": config(entry("egress", 0, [{"port": 8080}], client_address="original")),
    "mesh": config(entry("ingress", 0, [{"port": 8080}]), entry("egress", 0, [{"port": 8080}], local=True)),
}
PLANS: dict[str, Plan] = {name: build_plan(document, "0" * 64)[0] for name, document in DOCUMENTS.items()}


def packet(way: Way, to: str, port: int, **changes: object) -> Packet:
    address = ip_address(to)
    family: Family = "ipv6" if address.version == 6 else "ipv4"
    source = int(ip_address("2001:db8::9" if address.version == 6 else "192.0.2.9"))
    made = Packet(
        way=way, family=family, source=source, destination=int(address), source_port=40000, destination_port=port,
        sender=Socket() if way in ("out", "within") else None, receiver=Socket() if way in ("in", "within") else None,
        listener=OURS,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]  # by name


def answer(name: str, asked: Packet) -> Decision:
    return decide(lower(PLANS[name]), asked)


ACK = frozenset({"ack"})
REPLY = Connection("established", "reply")
EARNED = Connection("established", "reply", assured=True)
SYN_ACK = frozenset({"syn", "ack"})
PUBLISHED = Connection(labels=frozenset({PLANS["ingress"].published_label}))
ANEW = Socket(0, "c.slice", known=False)
UDP = {"protocol": "udp", "flags": frozenset()}
CASES = {
    "captured": ("ingress", packet("out", "198.51.100.1", 8080), "captured"),
    "captured over IPv6": ("networks", packet("out", "2001:db8::1", 22), "captured"),
    "not captured": ("networks", packet("out", "192.0.2.1", 443), "passed"),
    "our own": ("ingress", packet("out", "198.51.100.1", 8080, sender=OURS), "passed"),
    "nobody listens": ("ingress", packet("out", "198.51.100.1", 8080, listener=None), "reset"),
    "a stranger listens": ("ingress", packet("out", "198.51.100.1", 8080, listener=STRANGER), "reset"),
    "older": ("ingress", packet("out", "198.51.100.1", 8080, flags=ACK, connection=Connection("established")), "reset"),
    "untracked": (
        "ingress", packet("out", "198.51.100.1", 8080, flags=ACK, connection=Connection("untracked")), "reset"
    ),
    "an answer not earned": ("everything", packet("out", "198.51.100.1", 8080, flags=ACK, connection=REPLY), "reset"),
    "an answer": ("everything", packet("out", "198.51.100.1", 8080, flags=ACK, connection=EARNED), "passed"),
    "a SYN+ACK": ("everything", packet("out", "198.51.100.1", 8080, flags=SYN_ACK, connection=REPLY), "passed"),
    "a reset": ("ingress", packet("out", "198.51.100.1", 8080, flags=frozenset({"rst"}), connection=REPLY), "passed"),
    "to itself": ("ingress", packet("within", "127.0.0.1", 8080), "passed"),
    "to itself, captured": ("mesh", packet("within", "192.0.2.9", 8080), "captured"),
    "a service to our own socket": (
        "mesh",
        packet("within", "192.0.2.9", 40000, source_port=8080, flags=ACK, receiver=OURS,
               connection=Connection("established", "reply", zone=PLANS["mesh"].zone)),
        "passed",
    ),
    "a service to somebody else": (
        "mesh", packet("within", "192.0.2.9", 40000, source_port=8080, flags=ACK, connection=EARNED), "reset"
    ),
    "UDP": ("ingress", packet("out", "198.51.100.1", 8080, **UDP), "unreachable"),
    "UDP left alone": ("bypass", packet("out", "198.51.100.1", 8080, **UDP), "passed"),
    "DNS of a capture of everything": ("everything", packet("out", "198.51.100.1", 53, **UDP), "passed"),
    "NTP of a capture of everything": ("everything", packet("out", "198.51.100.1", 123, **UDP), "unreachable"),
    "multicast": ("everything", packet("out", "224.0.0.251", 5353, goes_to="several", **UDP), "passed"),
    "forwarded": ("ingress", packet("through", "198.51.100.1", 8080), "reset"),
    "forwarded UDP": ("ingress", packet("through", "198.51.100.1", 8080, **UDP), "unreachable"),
    "forwarded, left alone": ("bypass", packet("through", "198.51.100.1", 8080), "passed"),
    "published": (
        "ingress",
        packet("through", "172.17.0.2", 8080, connection=PUBLISHED, leaves_inside=True),
        "passed",
    ),
    "published, and elsewhere": ("ingress", packet("through", "198.51.100.1", 8080, connection=PUBLISHED), "reset"),
    "published, and answered": (
        "ingress",
        packet("through", "198.51.100.1", 8080, connection=replace(PUBLISHED, state="established", way="reply")),
        "passed",
    ),
    "in the cgroup": ("cgroup", packet("out", "198.51.100.1", 8080, sender=Socket(0, "a.slice/c")), "captured"),
    "exempt from it": ("cgroup", packet("out", "198.51.100.1", 8080, sender=Socket(0, "a.slice/b/c")), "passed"),
    "in another": ("cgroup", packet("out", "198.51.100.1", 8080, sender=Socket(0, "b.slice")), "passed"),
    "in one made anew": ("cgroup", packet("out", "198.51.100.1", 8080, sender=ANEW), "reset"),
    "in the captured one made anew": (
        "cgroup", packet("out", "198.51.100.1", 8080, sender=Socket(0, "a.slice", known=False)), "reset"
    ),
    "in one made anew below it": (
        "cgroup", packet("out", "198.51.100.1", 8080, sender=Socket(0, "a.slice/c", known=False)), "captured"
    ),
    "in one made anew below another": (
        "cgroup", packet("out", "198.51.100.1", 8080, sender=Socket(0, "b.slice/c", known=False)), "passed"
    ),
    "in the set": ("ipset", packet("out", "198.51.100.1", 8080, in_sets=frozenset({"peers"})), "captured"),
    "not in the set": ("ipset", packet("out", "198.51.100.1", 8080), "passed"),
    "arrives": ("egress", packet("in", "192.0.2.1", 8080), "captured"),
    "arrives for the listener": ("egress", packet("in", "192.0.2.1", 16001, receiver=OURS), "reset"),
    "arrives for loopback": ("egress", packet("in", "127.0.0.1", 8080), "dropped"),
    "arrives for the service": ("service", packet("in", "192.0.2.1", 8080, receiver=Socket(0, "a.slice")), "captured"),
    "arrives for another": ("service", packet("in", "192.0.2.1", 8080, receiver=Socket(0, "b.slice")), "passed"),
    "arrives in TIME_WAIT": ("service", packet("in", "192.0.2.1", 8080, receiver=None), "reset"),
    "ends a handshake": (
        "exempt",
        packet("in", "192.0.2.1", 8080, receiver=None, flags=ACK,
               connection=Connection("established", labels=frozenset({PLANS["exempt"].judged_label}))),
        "passed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_packet_has_the_fate_that_the_manual_says(case: str) -> None:
    name, asked, expected = CASES[case]
    assert answer(name, asked).fate == expected


def test_the_path_is_every_rule_that_held_in_order() -> None:
    found = answer("ingress", packet("out", "198.51.100.1", 8080))
    assert [step.chain for step in found.path][:2] == ["capture_output", "ingress_0"]
    assert found.port == 15001
    rules = {chain.name: chain.rules for chain in lower(PLANS["ingress"]).chains}
    assert all(
        rules[step.chain][step.index] is not None and rules[step.chain][step.index] == step.rule for step in found.path
    )


def test_the_owned_guard_refuses_by_itself_what_was_captured() -> None:
    """After a flush it is all there is: nothing is redirected any more, and what was captured does not pass."""
    for name in ("ingress", "networks", "everything", "egress", "mesh"):
        plan = PLANS[name]
        guard = owned_guard(lower(plan), plan.guard_table)
        for case, (document, asked, expected) in CASES.items():
            if document == name and expected in ("captured", "reset", "unreachable"):
                assert decide(guard, asked).fate in ("reset", "unreachable"), case


@given(
    st.sampled_from(sorted(PLANS)),
    st.sampled_from(["out", "in", "within", "through"]),
    st.integers(0, 65535) | st.sampled_from([8080, 443, 53, 15001, 16001]),
    st.sampled_from(["198.51.100.1", "10.1.2.3", "2001:db8::1", "127.0.0.1"]),
    st.sampled_from(["new", "established", "untracked"]),
    st.booleans(),
)
def test_nothing_that_would_be_captured_passes_as_a_connection_of_before(
    name: str, way: Way, port: int, to: str, state: str, assured: bool
) -> None:
    """The guard is made of the same destinations as the capture: what the one takes, the other refuses."""
    first = packet(way, to, port)
    if answer(name, first).fate != "captured" or (way, name) == ("in", "service"):
        return
    later = replace(first, flags=ACK, connection=Connection(state, assured=assured))  # type: ignore[arg-type]
    if state != "new":
        assert answer(name, later).fate == "reset"


OURS_ANSWERED = Connection("established", "reply", assured=True, zone=PLANS["original"].zone)
FROM_THE_SERVICE = packet(
    "out", "198.51.100.7", 50000, source_port=8080, flags=ACK, connection=OURS_ANSWERED, receiver=OURS
)


def test_an_answer_to_a_client_from_whose_address_we_dialled_comes_back() -> None:
    table = lower(PLANS["original"])
    decision = decide(table, FROM_THE_SERVICE)
    assert decision.fate == "passed"
    assert "way_back_output" in {step.chain for step in decision.path}
    forwarded = replace(FROM_THE_SERVICE, way="through", sender=None)
    decision = decide(table, forwarded)
    assert decision.fate == "passed"
    assert next(step.chain for step in decision.path) == "way_back_prerouting"


@pytest.mark.parametrize("way", ["out", "through"])
def test_an_answer_that_does_not_come_back_is_dropped(way: Way) -> None:
    """The chains that mark it are taken out, as if the routing rule were missing; the owned table never has them."""
    plan = PLANS["original"]
    table = lower(plan)
    table = replace(table, chains=tuple(c for c in table.chains if not c.name.startswith("way_back")))
    asked = replace(FROM_THE_SERVICE, way=way, sender=Socket() if way == "out" else None)
    for each in (table, owned_guard(lower(plan), plan.guard_table)):
        assert decide(each, asked).fate == "dropped"


def test_without_a_way_back_an_answer_to_ourselves_that_leaves_is_refused() -> None:
    """A connection of before a reload to another document."""
    assert answer("egress", FROM_THE_SERVICE).fate == "reset"
    other = replace(FROM_THE_SERVICE, source_port=9000)
    assert answer("egress", other).fate == answer("ingress", other).fate == "dropped"


def test_what_we_dial_from_a_clients_address_passes() -> None:
    first = Connection(zone=PLANS["original"].zone)
    dialled = packet("within", "192.0.2.1", 8080, source=int(ip_address("198.51.100.7")), connection=first, sender=OURS)
    assert answer("original", dialled).fate == "passed"
