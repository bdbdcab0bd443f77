"""What becomes of which traffic otherwise than before, by danger."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from tng_compiler.diff.danger import Danger, danger_of
from tng_compiler.diff.doors import DoorChange, compare_doors
from tng_compiler.diff.trust import FieldChange, Trust, changes, trust_of
from tng_compiler.model.types import Control
from tng_compiler.plan.types import Plan
from tng_compiler.regions.fates import Fate, Protocol, Way
from tng_compiler.regions.solve import Region, View, solve
from tng_schema import contract

_ORDER = list(Danger)
_WAYS: tuple[Way, ...] = ("out", "in", "within", "through")


@dataclass(frozen=True, slots=True)
class Change:
    """Traffic of one kind with one fate before and one after; ``fields``: what differs in trust if both capture."""

    danger: Danger
    way: Way
    protocol: Protocol
    before: Fate
    after: Fate
    fields: tuple[FieldChange, ...]
    trusts: tuple[Trust | None, Trust | None]
    regions: tuple[Region, ...]

    @property
    def identity(self) -> str:
        """16 hexadecimal digits that are the same for the same change of the same traffic, and for no other."""
        parts = [self.danger, self.way, self.protocol, self.before.kind, self.after.kind, *map(repr, self.fields)]
        parts += [repr(trust and trust.without_secrets()) for trust in self.trusts]
        kinds = sorted(repr((r.family, r.cgroups or r.interfaces, r.sets, r.rows)) for r in self.regions)
        return hashlib.sha256("\n".join([*parts, *kinds]).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class SettingChange:
    """What is said once for a document, and of no traffic that it captures; ``why`` one should care."""

    field: str
    before: str
    after: str
    why: str

    danger: ClassVar[Danger] = Danger.TRUST
    fields: ClassVar[tuple[FieldChange, ...]] = ()

    @property
    def identity(self) -> str:
        """16 hexadecimal digits that are the same for the same change, and for no other."""
        return hashlib.sha256("\n".join([self.field, self.before, self.after]).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Difference:
    """``changes`` are sorted by danger; ``doors``, what becomes of entries that capture nothing, as well."""

    changes: tuple[Change, ...]
    settings: tuple[SettingChange, ...] = ()
    doors: tuple[DoorChange, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether both documents mean the same."""
        return not self.changes and not self.settings and not self.doors


def compare(old: Plan | None, new: Plan | None) -> Difference:
    """Return the difference; None is a host without rules, where everything passes."""
    plans = [old or _nothing(new), new or _nothing(old)]
    trusts = [{entry.pointer: trust_of(entry) for entry in plan.entries} for plan in plans]

    def question(view: View) -> Hashable | None:
        before, after = view.fates
        if before.kind != after.kind:
            return view.fates
        if before.kind == "captured" and trusts[0][before.entry] != trusts[1][after.entry]:
            return view.fates
        return None

    groups: dict[tuple[Way, Protocol, Fate, Fate], list[Region]] = {}
    for region in solve(plans, question):
        groups.setdefault((region.way, region.protocol, *region.answer), []).append(region)
    found = [_change(*key, trusts, regions) for key, regions in groups.items()]
    return Difference(tuple(sorted(found, key=_order)), tuple(_settings(old, new)), compare_doors(*plans))


def _settings(old: Plan | None, new: Plan | None) -> Iterator[SettingChange]:
    if old and new and old.marks != new.marks:
        before, after = (", ".join(map(str, plan.marks)) or "none" for plan in (old, new))
        yield SettingChange("so_mark", before, after, "what carries a mark of ours always passes")
    control = new.control if new else None
    before, after = map(_place, (old.control if old else None, control))
    if before != after:
        yield SettingChange("control_interface", before, after, _who_asks(control))


def _place(control: Control | None) -> str:
    return f"{control.host} port {control.port}" if control else "none"


def _who_asks(control: Control | None) -> str:
    if control is None:
        return "nobody asks there any more"
    return "programs of this host ask there" if contract.is_loopback(control.host) else "others can ask, unencrypted"


def _nothing(plan: Plan | None) -> Plan:
    assert plan, "a host without rules before and after needs no comparison"
    return Plan(plan.instance, plan.compiler_version, "", plan.zone, plan.published_label, plan.judged_label, ())


def _change(
    way: Way, protocol: Protocol, before: Fate, after: Fate, trusts: list[dict[str, Trust]], regions: Iterable[Region]
) -> Change:
    fields: tuple[FieldChange, ...] = ()
    if before.kind == after.kind == "captured":
        fields = changes(trusts[0][before.entry], trusts[1][after.entry])
    danger = _danger(before, after, fields, trusts[1])
    both = (trusts[0].get(before.entry), trusts[1].get(after.entry))
    proven = tuple(
        trust if fate.kind == "captured" else None for fate, trust in zip((before, after), both, strict=True)
    )
    return Change(danger, way, protocol, before, after, fields, (proven[0], proven[1]), tuple(regions))


def _danger(before: Fate, after: Fate, fields: tuple[FieldChange, ...], trusts: dict[str, Trust]) -> Danger:
    if after.kind == "passed":
        # A port that we do not listen on any more is as open as any other.
        return Danger.TRUST if before.why == "listener" else Danger.UNPROTECTED
    if after.kind == "refused":
        return Danger.REFUSED
    if before.kind == "passed":
        return Danger.PEER
    if before.kind == "refused":
        return Danger.UNPROTECTED if trusts[after.entry].nothing else Danger.ATTESTED
    return danger_of(fields)


def _order(change: Change) -> tuple[int, Fate, int, str, Fate]:
    return _ORDER.index(change.danger), change.before, _WAYS.index(change.way), change.protocol, change.after
