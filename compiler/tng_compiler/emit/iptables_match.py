"""One match and one verdict of the rule tree in the words of iptables, for one family.

A match gives its alternatives, each of which is a rule of its own: none means that it cannot hold in this family, or
that iptables cannot tell (``emit/iptables_limits`` says which those are, and what the rules lack without them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from tng_compiler.algebra.space import EVERY_PORT, Family, Ports
from tng_compiler.emit.ipset import Members
from tng_compiler.rules import tree

_LETTER = {"source": "s", "destination": "d"}
_SET_SIDE = {"source": "src", "destination": "dst"}
_LOOPBACK = {"ipv4": "127.0.0.0/8", "ipv6": "::1/128"}


@dataclass(frozen=True, slots=True)
class Part:
    """What one match adds to a rule: a protocol that it needs, words, and words of the one conntrack match."""

    protocol: tree.Protocol | None = None
    words: str = ""
    conntrack: str = ""


_HOLDS = (Part(),)
_NEVER: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Sets:
    """What stands for the sets of the tree: ipsets for destinations, paths for cgroups."""

    boxes: Mapping[str, Sequence[Members]]
    cgroups: Mapping[str, Sequence[str]]


def alternatives(match: tree.Match, family: Family, sets: Sets) -> tuple[Part, ...]:
    """Return the alternatives of ``match``."""
    match match:
        case tree.OfFamily(named):
            return _HOLDS if named == family else _NEVER
        case tree.ToLoopbackAddress(named):
            return (Part(words=f"-d {_LOOPBACK[family]}"),) if named == family else _NEVER
        case tree.AtPorts() | tree.AtListener() | tree.InBoxes() | tree.InOperatorSet():
            return _addressed(match, family, sets)
        case tree.InCgroup() | tree.SocketMark() | tree.ReceivedBySocket():
            return _owned(match, sets)
        case tree.OverLoopback(way, negated):
            return (Part(words=f"{'! ' if negated else ''}{'-i' if way == 'came' else '-o'} lo"),)
        case tree.CameBy(interfaces):
            return tuple(Part(words=f"-i {name[:-1]}+" if name.endswith("*") else f"-i {name}") for name in interfaces)
        case tree.CameFromInside() | tree.LeavesInside():
            return _HOLDS if isinstance(match, tree.LeavesInside) else _NEVER
        case tree.AddressType(side, kinds, negated):
            return _address_types(side, kinds, family, negated=negated)
        case tree.TcpFlags(mask, wanted):
            flags = f"{','.join(mask)} {','.join(wanted)}".upper()
            return (Part("tcp", f"--tcp-flags {flags}"),)
        case tree.Direction() | tree.States() | tree.Status() | tree.OpenedInZone():
            return (_tracked(match),)
        case tree.Labelled(label):
            return (Part(words=f"-m connlabel --label {label}"),)
        case _:
            assert_never(match)


def target(verdict: tree.Verdict, prefix: str) -> str:
    """Return the words of a verdict; chains have ``prefix`` before their names."""
    match verdict:
        case tree.Accept():
            return "-j ACCEPT"
        case tree.Return():
            return "-j RETURN"
        case tree.Reset():
            return "-j REJECT --reject-with tcp-reset"
        case tree.Unreachable():
            return "-j REJECT"
        case tree.Drop():
            return "-j DROP"
        case tree.SetZone(zone):
            return f"-j CT --zone-orig {zone}"
        case tree.SetLabel(label):
            # The match itself sets, and a rule without a target only counts (iptables-extensions(8), connlabel).
            return f"-m connlabel --label {label} --set"
        case tree.SetMark(mark):
            return f"-j MARK --set-mark {mark:#x}"
        case tree.Redirect(port):
            return f"-j REDIRECT --to-ports {port}"
        case tree.Jump(chain):
            return f"-j {prefix}{chain}"
        case tree.Goto(chain):
            return f"-g {prefix}{chain}"
        case _:
            assert_never(verdict)


def _addressed(
    match: tree.AtPorts | tree.AtListener | tree.InBoxes | tree.InOperatorSet, family: Family, sets: Sets
) -> tuple[Part, ...]:
    match match:
        case tree.AtPorts(side, ports, protocol, negated):
            assert not negated or len(ports) == 1, "iptables has no negated list of intervals"
            return tuple(Part(protocol, _port(side, interval, negated=negated)) for interval in ports)
        case tree.AtListener(side, listen_ports):
            return tuple(Part("tcp", _port(side, Ports(port, port))) for port in listen_ports)
        case tree.InBoxes(side, name, named, protocol):
            groups = sets.boxes[name] if named == family else ()
            return tuple(Part(protocol, _in_set(side, group)) for group in groups)
        case tree.InOperatorSet(side, name, named):
            words = f"-m set --match-set {name} {_SET_SIDE[side]}"
            return (Part(words=words),) if named == family else _NEVER
        case _:
            assert_never(match)


def _owned(match: tree.InCgroup | tree.SocketMark | tree.ReceivedBySocket, sets: Sets) -> tuple[Part, ...]:
    match match:
        case tree.InCgroup(_, name, negated):
            # iptables-restore takes a backslash between quotes as an escape. A set of all cgroups there are cannot be.
            paths = () if negated else tuple(path.replace("\\", "\\\\") for path in sets.cgroups[name])
            return tuple(Part(words=f'-m cgroup --path "{path}"') for path in paths)
        case tree.SocketMark("sender", marks, negated):
            assert not negated, "nothing of the tree asks for senders that are not ours"
            return tuple(Part(words=f"-m mark --mark {mark:#x}") for mark in marks)
        case tree.SocketMark() | tree.ReceivedBySocket():
            return _NEVER
        case _:
            assert_never(match)


def _tracked(match: tree.Direction | tree.States | tree.Status | tree.OpenedInZone) -> Part:
    match match:
        case tree.Direction(way):
            return Part(conntrack=f"--ctdir {way.upper()}")
        case tree.States(states):
            return Part(conntrack=f"--ctstate {','.join(states).upper()}")
        case tree.Status(bit):
            return Part(conntrack="--ctstate DNAT" if bit == "dnat" else "--ctstatus ASSURED")
        case tree.OpenedInZone():
            return Part()
        case _:
            assert_never(match)


def _port(side: tree.Side, ports: Ports, *, negated: bool = False) -> str:
    if ports == EVERY_PORT and not negated:
        return ""
    span = str(ports.first) if ports.first == ports.last else f"{ports.first}:{ports.last}"
    return f"{'! ' if negated else ''}--{_LETTER[side]}port {span}"


def _in_set(side: tree.Side, group: Members) -> str:
    where = _SET_SIDE[side]
    if group.ports is None:
        return f"-m set --match-set {group.name} {where},{where}"
    return f"{_port(side, group.ports)} -m set --match-set {group.name} {where}".strip()


def _address_types(
    side: tree.Side, kinds: Sequence[tree.AddressKind], family: Family, *, negated: bool
) -> tuple[Part, ...]:
    """For IPv6 the kernel takes several types as conditions that must hold together, for IPv4 as alternatives.

    So every type has a rule (net/netfilter/xt_addrtype.c). IPv6 has no broadcast.
    """
    word = "src" if side == "source" else "dst"
    assert not negated or len(kinds) == 1, "not this and not that would be conditions of one rule"
    known = [kind for kind in kinds if family == "ipv4" or kind != "broadcast"]
    return tuple(Part(words=f"-m addrtype {'! ' if negated else ''}--{word}-type {kind.upper()}") for kind in known)
