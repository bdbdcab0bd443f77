"""What becomes of one packet: a pure reader of the rule tree, which tells the rules that led there.

Netfilter's order, as far as the tree uses it: hooks one after the other, in each the base chains by priority, a nat
chain for the first packet of a connection only. What a rule changes is what later rules see. What is redirected, or
sent by this host to itself, comes in again over ``lo``; what would be forwarded and is redirected is for this host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from tng_compiler.rules import tree
from tng_compiler.rules.holds import Point, holds
from tng_compiler.rules.packet import Packet

Fate = Literal["captured", "passed", "reset", "unreachable", "dropped"]

_LOOPBACK = {"ipv4": 0x7F000001, "ipv6": 1}
_HOOKS: dict[str, tuple[tree.Hook, ...]] = {
    "out": ("output", "postrouting"),
    "within": ("output", "postrouting", "prerouting", "input"),
    "in": ("prerouting", "input"),
    "through": ("prerouting", "forward", "postrouting"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A rule whose matches held: the ``index``-th (from 0) of ``chain``."""

    chain: str
    index: int
    rule: tree.Rule


@dataclass(frozen=True, slots=True)
class Decision:
    """``port`` is the listen port that the packet was redirected to, refused there or not.

    ``path`` is every rule that held, in order.
    """

    fate: Fate
    port: int | None
    path: tuple[Step, ...]


def decide(table: tree.Table, packet: Packet) -> Decision:
    """Return what ``table`` does with ``packet``. A captured one whose listen port nobody has is reset by the host."""
    return _Traversal(table, packet).run()


def _fate(verdict: tree.Accept | tree.Reset | tree.Unreachable | tree.Drop) -> Fate | None:
    match verdict:
        case tree.Accept():
            return None
        case tree.Reset():
            return "reset"
        case tree.Unreachable():
            return "unreachable"
        case tree.Drop():
            return "dropped"
        case _:
            assert_never(verdict)


class _Traversal:
    def __init__(self, table: tree.Table, packet: Packet) -> None:
        self._chains = {chain.name: chain for chain in table.chains}
        self._base = [(chain, chain.base) for chain in table.chains if chain.base and not chain.counts]
        self._sets = {group.name: group for group in table.sets}
        self._packet = packet
        self._way = packet.way
        self._port: int | None = None
        self._path: list[Step] = []
        self._comes_back = False

    def run(self) -> Decision:
        first = self._packet.connection.state == "new"
        hooks = list(_HOOKS[self._way])
        while hooks:
            hook = hooks.pop(0)
            for chain, base in sorted(self._of(hook), key=lambda pair: pair[1].priority):
                # Once decided for the first packet, a translation is not decided again on the way in.
                if base.kind == "nat" and (not first or (hook == "prerouting" and self._way == "within")):
                    continue
                if end := self._ends(chain, hook):
                    return Decision(end, self._port, tuple(self._path))
            if hook == "output" and self._way == "out" and (self._port is not None or self._comes_back):
                self._way, hooks = "within", ["postrouting", "prerouting", "input"]
            elif hook == "prerouting" and self._way == "through" and self._comes_back:
                self._way, hooks = "in", ["input"]
            elif hook == "prerouting" and self._packet.way == "through" and self._port is not None:
                hooks = ["input"]
        if self._port is None:
            return Decision("passed", None, tuple(self._path))
        return Decision("captured" if self._packet.listener else "reset", self._port, tuple(self._path))

    def _of(self, hook: tree.Hook) -> Iterator[tuple[tree.Chain, tree.Base]]:
        for chain, base in self._base:
            if base.hook == hook and (not base.protocols or self._packet.protocol in base.protocols):
                yield chain, base

    def _ends(self, chain: tree.Chain, hook: tree.Hook) -> Fate | None:
        """Walk a base chain; None if the packet leaves it."""
        stack = [(chain, 0)]
        while stack:
            current, index = stack.pop()
            for number in range(index, len(current.rules)):
                rule = current.rules[number]
                if not all(holds(match, self._point(hook), self._sets) for match in rule.matches):
                    continue
                self._path.append(Step(current.name, number, rule))
                match rule.verdict:
                    case tree.SetZone() | tree.SetLabel() | tree.SetMark():
                        self._remember(rule.verdict)
                        continue
                    case tree.Jump(name):
                        stack += [(current, number + 1), (self._chains[name], 0)]
                    case tree.Goto(name):
                        stack.append((self._chains[name], 0))
                    case tree.Redirect(port):
                        self._redirect(port, hook)
                        return None
                    case tree.Return():
                        pass
                    case _:
                        return _fate(rule.verdict)
                break
        return None

    def _point(self, hook: tree.Hook) -> Point:
        redirected_out = self._port is not None and self._packet.way == "out"
        over_loopback = self._way == "within" and not (redirected_out and hook == "output")
        arrives = hook in ("prerouting", "input") and self._way != "through"
        # What came back is still addressed to somebody else.
        local = (arrives or self._way == "within") and not self._comes_back and self._packet.goes_to != "several"
        return Point(self._packet, hook, over_loopback, local)

    def _redirect(self, port: int, hook: tree.Hook) -> None:
        self._port = port
        if self._way == "through":
            self._way = "in"
        packet = self._packet
        destination = _LOOPBACK[packet.family] if hook == "output" else packet.destination
        self._packet = replace(
            packet,
            destination=destination,
            destination_port=port,
            receiver=packet.listener,
            connection=replace(packet.connection, translated=True),
        )

    def _remember(self, verdict: tree.SetZone | tree.SetLabel | tree.SetMark) -> None:
        if isinstance(verdict, tree.SetMark):  # the one mark that is set is that of the way back
            self._comes_back = True
            return
        connection = self._packet.connection
        if isinstance(verdict, tree.SetZone):
            connection = replace(connection, zone=verdict.zone)
        else:
            connection = replace(connection, labels=connection.labels | {verdict.label})
        self._packet = replace(self._packet, connection=connection)
