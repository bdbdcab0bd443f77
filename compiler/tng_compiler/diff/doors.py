"""What becomes of entries that capture nothing: ports that programs or peers connect to.

Compared port by port, so that rules that were joined, split or moved to another entry are no change; nor is another
order of filters.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from tng_compiler.algebra.intervals import Interval, subtract, union
from tng_compiler.algebra.space import FAMILIES, Region
from tng_compiler.algebra.union import collapse
from tng_compiler.diff.danger import Danger, danger_of
from tng_compiler.diff.trust import FieldChange, Trust, Weight, changes, trust_of
from tng_compiler.emit.plan_text import filter_words
from tng_compiler.model.types import DstFilter, HttpProxy, Mapping, PortRange, Role, Socks5
from tng_compiler.plan.types import Plan
from tng_schema import contract

Host = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Filters:
    """What goes through the tunnel, in a form that does not depend on how it was ``written``."""

    names: frozenset[tuple[str | None, str | None, tuple[Interval, ...]]]
    addresses: tuple[Region, ...]
    written: tuple[DstFilter, ...]

    def same(self, other: Filters | None) -> bool:
        """Whether both take the same."""
        return other is not None and (self.names, self.addresses) == (other.names, other.addresses)

    def holds(self, other: Filters) -> bool:
        """Whether it takes all that ``other`` takes."""
        return self.same(_filters((*self.written, *other.written)))


@dataclass(frozen=True, slots=True)
class Settings:
    """What a port does. ``target``: host, and how far its ports are from ours; ``auth``: a name and a password."""

    kind: str
    role: Role
    trust: Trust
    target: tuple[str, int] | None = None
    filters: Filters | None = None
    unmatched: str | None = None
    auth: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class DoorChange:
    """Ports of ``host`` that do something else; ``before`` or ``after`` None: they are new, or gone."""

    danger: Danger
    host: Host
    ports: PortRange
    before: Settings | None
    after: Settings | None
    fields: tuple[FieldChange, ...]

    @property
    def what(self) -> Literal["added", "removed", "changed"]:
        """The kind of change."""
        return "changed" if self.before and self.after else "added" if self.after else "removed"

    @property
    def door(self) -> Settings:
        """What it is now, or was."""
        found = self.after or self.before
        assert found
        return found

    @property
    def identity(self) -> str:
        """16 hexadecimal digits that are the same for the same change, and for no other; no secret is in them."""
        sides = [repr(side and _without_secrets(side)) for side in (self.before, self.after)]
        parts = [self.danger, str(self.host), repr(self.ports), *sides, *map(repr, self.fields)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def compare_doors(old: Plan, new: Plan) -> tuple[DoorChange, ...]:
    """Return what differs, the most dangerous first."""
    before, after = _ports(old), _ports(new)
    groups: list[tuple[Host, PortRange, Settings | None, Settings | None]] = []
    for host, port in sorted({*before, *after}, key=lambda key: (key[0].version, int(key[0]), key[1])):
        sides = (before.get((host, port)), after.get((host, port)))
        if _same(*sides):
            continue
        if groups and groups[-1][0] == host and groups[-1][1].last == port - 1 and groups[-1][2:] == sides:
            groups[-1] = (host, PortRange(groups[-1][1].first, port), *sides)
        else:
            groups.append((host, PortRange(port, port), *sides))
    found = [_change(*group, None) for group in groups]
    return tuple(sorted(_moves(found), key=lambda change: list(Danger).index(change.danger)))


def _ports(plan: Plan) -> dict[tuple[Host, int], Settings]:
    found: dict[tuple[Host, int], Settings] = {}
    for door in plan.doors:
        settings = Settings(door.mode.pointer.rpartition("/")[2], door.role, trust_of(door))
        if isinstance(door.mode, Mapping):
            for rule in door.mode.rules:
                leading = replace(settings, target=(rule.out_host, rule.out_first - rule.ports.first))
                found.update(((rule.host, port), leading) for port in range(rule.ports.first, rule.ports.last + 1))
            continue
        if isinstance(door.mode, HttpProxy):
            settings = replace(settings, filters=_filters(door.mode.filters), unmatched=door.mode.unmatched)
        elif isinstance(door.mode, Socks5):
            settings = replace(settings, auth=door.mode.auth)
        found[door.mode.host, door.mode.port] = settings
    return found


def _filters(filters: Sequence[DstFilter]) -> Filters:
    ports: defaultdict[tuple[str | None, str | None], list[Interval]] = defaultdict(list)
    for each in filters:
        if each.network is None:
            ports[each.domain, each.regex].append(each.ports)
    taken = {key: union(some) for key, some in ports.items()}
    everything = taken.get((None, None), [])
    named = {}
    for key, own in taken.items():
        wider = [taken.get((domain, None), []) for domain in _wider(key[0])]
        around = union([*(everything if key != (None, None) else ()), *(ports for some in wider for ports in some)])
        named[key] = subtract(own, around)
    addresses = [
        (each.network, rest) for each in filters if each.network for rest in subtract([each.ports], everything)
    ]
    regions = tuple(
        collapse(family, ((n.first, n.prefixlen, rest) for n, rest in addresses if n.version == version))[0]
        for family, version in zip(FAMILIES, (4, 6), strict=True)
    )
    names = frozenset((*key, tuple(some)) for key, some in named.items() if some)
    return Filters(names, regions, tuple(filters))


def _wider(domain: str | None) -> Iterator[str]:
    """Yield what takes all names of ``domain`` and more: `*x` takes what ends in x, `x*` what begins so."""
    name = (domain or "").strip("*")
    first, last = (domain or "").startswith("*"), (domain or "").endswith("*")
    if not last:
        yield from (f"*{name[start:]}" for start in range(first, len(name)))
    if not first:
        yield from (f"{name[:end]}*" for end in range(1, len(name) + (not last)))


def _same(one: Settings | None, two: Settings | None) -> bool:
    if one is None or two is None:
        return one is two
    alike = one.filters is two.filters or (one.filters is not None and one.filters.same(two.filters))
    return alike and replace(one, filters=None) == replace(two, filters=None)


def _moves(found: Sequence[DoorChange]) -> Iterator[DoorChange]:
    """Yield the changes, those that only listen elsewhere as one."""
    gone = [change for change in found if change.after is None]
    for change in found:
        if change.after is None:
            continue
        size = change.ports.last - change.ports.first
        same = (
            one
            for one in gone
            if change.before is None and one.ports.last - one.ports.first == size and _moved(one, change)
        )
        if (one := next(same, None)) is not None:
            gone.remove(one)
            yield _change(change.host, change.ports, one.before, change.after, (one.host, one.ports))
        else:
            yield change
    yield from gone


def _moved(one: DoorChange, two: DoorChange) -> bool:
    """Whether what was at one place does the same at another."""
    before, after = one.before, two.after
    assert before
    assert after
    if before.target and after.target:
        aims = [
            (host, far + ports.first) for (host, far), ports in ((before.target, one.ports), (after.target, two.ports))
        ]
        return aims[0] == aims[1] and _same(replace(before, target=None), replace(after, target=None))
    return _same(before, after)


def _change(
    host: Host, ports: PortRange, before: Settings | None, after: Settings | None, moved: tuple[Host, PortRange] | None
) -> DoorChange:
    fields: tuple[FieldChange, ...] = ()
    if before and after:
        where = (
            [FieldChange("listens on", place(*moved), place(host, ports), _opens(moved[0], host, after))]
            if moved
            else []
        )
        order: tuple[Weight, ...] = ("weaker", "peer", "own")
        settings = [] if moved else _fields(ports.first, before, after)
        fields = tuple(sorted([*where, *settings], key=lambda field: order.index(field.weight)))
        danger = danger_of(fields)
    elif after:
        danger = Danger.UNPROTECTED if after.unmatched == "direct" else Danger.PEER
        danger = Danger.TRUST if after.role == "egress" else danger
    else:
        danger = Danger.REFUSED
    return DoorChange(danger, host, ports, before, after, fields)


def _opens(before: Host, after: Host, door: Settings) -> Weight:
    """Weigh another address: one that others reach lets them through the tunnel."""
    opened = contract.is_loopback(str(before)) and not contract.is_loopback(str(after))
    return "weaker" if opened and door.role == "ingress" and door.auth is None else "own"


def _fields(port: int, before: Settings, after: Settings) -> Iterator[FieldChange]:
    if before.kind != after.kind or before.role != after.role:
        yield FieldChange("kind", f"{before.role} {before.kind}", f"{after.role} {after.kind}", "peer")
    if before.unmatched != after.unmatched and before.kind == after.kind:
        said = [str(each.unmatched) + (", in plaintext" * (each.unmatched == "direct")) for each in (before, after)]
        yield FieldChange("unmatched", said[0], said[1], "weaker" if after.unmatched == "direct" else "own")
    elif after.unmatched == "direct" and before.kind != after.kind:
        yield FieldChange("unmatched", "none", "direct, in plaintext", "weaker")
    if before.target != after.target and before.target and after.target:
        aims = [f"{host} port {far + port}" for host, far in (before.target, after.target)]
        yield FieldChange("leads to", aims[0], aims[1], "peer" if after.role == "ingress" else "own")
    if before.filters and after.filters and not before.filters.same(after.filters):
        lost, gained = not after.filters.holds(before.filters), not before.filters.holds(after.filters)
        weight: Weight = "weaker" if lost and after.unmatched == "direct" else "peer" if gained else "own"
        words = [set(map(filter_words, each.written)) for each in (before.filters, after.filters)]
        said = [_listed(words[0] - words[1]), _listed(words[1] - words[0])]
        yield FieldChange("dst_filters (those that differ)", said[0], said[1], weight)
    if before.auth != after.auth and before.kind == after.kind:
        said = ["a password" if each.auth else "none" for each in (before, after)]
        said[1] = "another name or password" if before.auth and after.auth else said[1]
        yield FieldChange("auth", said[0], said[1], "own" if after.auth else "weaker")
    yield from changes(before.trust, after.trust)


def _listed(words: set[str]) -> str:
    return "; ".join(sorted(words)[:8]) + (f"; and {len(words) - 8} more" if len(words) > 8 else "") or "none"


def place(host: Host, ports: PortRange) -> str:
    """Return where something listens, for people."""
    if ports.first == ports.last:
        return f"{host} port {ports.first}"
    return f"{host} ports {ports.first} to {ports.last}"


def headline(change: DoorChange) -> str:
    """Say what happens to which door."""
    door = change.door
    where = f"{door.role} {door.kind} on {place(change.host, change.ports)}"
    if door.target:
        where += f", to {door.target[0]} port {door.target[1] + change.ports.first}"
        where += " onwards" if change.ports.first != change.ports.last else ""
    match change.what:
        case "added":
            return f"new {where}" + (", in plaintext what no filter takes" if door.unmatched == "direct" else "")
        case "removed":
            return f"{where}, where nothing listens any more"
        case "changed":
            return where


def _without_secrets(door: Settings) -> Settings:
    """The same without values of headers and passwords, and filters in one order."""
    filters = door.filters and (sorted(map(repr, door.filters.names)), door.filters.addresses)
    kept = replace(door, trust=door.trust.without_secrets(), auth=door.auth and ("", ""), filters=None)
    return replace(kept, kind=f"{kept.kind} {filters}")
