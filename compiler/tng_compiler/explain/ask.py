"""The question: a flow to the rules of a plan. What the flow leaves open is gone through, case by case."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from tng_compiler.emit.nft import first_lines, rule_text
from tng_compiler.explain import doors
from tng_compiler.explain.after import after
from tng_compiler.explain.answer import Answer, Case, Fate, Step
from tng_compiler.explain.cases import Conditions, Leaf, kinds, leaves, solve
from tng_compiler.explain.flow import Flow
from tng_compiler.explain.items import covering
from tng_compiler.explain.near import near_misses
from tng_compiler.explain.open_parts import World, parts, start
from tng_compiler.explain.situation import CLIENT_PORT, Situation, outcome, spelled
from tng_compiler.model.types import Config
from tng_compiler.plan.doorways import Doorway
from tng_compiler.plan.types import Interception, Plan
from tng_compiler.rules.decide import Decision
from tng_compiler.rules.lower import lower
from tng_compiler.shape.nearest import nearest

MOST_JUDGED = 20_000
"""Situations times entries: a few seconds."""


def ask(plan: Plan, config: Config, flow: Flow) -> Answer:
    """Return the answer for ``flow``; ``config`` is what ``plan`` was made of.

    Raises ``TooOpenError`` if the flow leaves more open than can be gone through.
    """
    return _Question(plan, config, flow).answer()


class _Question:
    def __init__(self, plan: Plan, config: Config, flow: Flow) -> None:
        self._plan, self._config, self._flow = plan, config, flow
        self._world = World(plan, lower(plan))
        self._lines = first_lines(plan, self._world.table)

    def answer(self) -> Answer:
        budget = max(2_000, MOST_JUDGED // (1 + len(self._plan.entries) // 4))
        node = solve(start(self._flow), parts(self._flow, self._world), self._judge, budget)
        cases = tuple(self._case(conditions, leaf) for conditions, leaf in leaves(node))
        fates: set[Fate] = {case.fate for case in cases}
        fate: Fate = "depends" if len(fates) > 1 else cases[0].fate
        return Answer(self._flow.text, fate, kinds(node), tuple(_assumed(self._flow, self._plan)), cases)

    def _decide(self, situation: Situation) -> Decision:
        return outcome(self._plan, self._world.seen_by(situation), situation)

    def _judge(self, situation: Situation) -> Hashable:
        decision = self._decide(situation)
        blamed = self._entry(decision) if decision.fate != "passed" else None
        port = decision.port if decision.fate == "captured" else None
        door = doors.door_of(self._world, situation, decision)
        return decision.fate, port, blamed.pointer if blamed else door.pointer if door else None

    def _entry(self, decision: Decision) -> Interception | None:
        """The entry that redirected the packet, else the one whose rule ended it."""
        if decision.port is not None:
            return next(entry for entry in self._plan.entries if entry.listen_port == decision.port)
        comment = decision.path[-1].rule.comment if decision.path else ""
        return next((entry for entry in self._plan.entries if entry.pointer == comment), None)

    def _case(self, conditions: Conditions, leaf: Leaf) -> Case:
        situation = leaf.situation
        decision = self._decide(situation)
        if door := doors.door_of(self._world, situation, decision):
            return self._door_case(conditions, situation, decision, door)
        entry = self._entry(decision) if decision.fate != "passed" else None
        captured = decision.fate == "captured"
        fate: Fate = "captured" if captured else "passed" if decision.fate == "passed" else "refused"
        captor = entry if decision.port is not None else None
        return Case(
            when=conditions,
            fate=fate,
            verdict=decision.fate,
            entry=entry.pointer if entry else None,
            item=covering(self._config, entry, situation) if entry else None,
            port=decision.port,
            reason=_reason(decision, entry, situation),
            example=spelled(self._plan, situation),
            steps=tuple(self._steps(decision)),
            misses=near_misses(self._world, self._config, situation, captor),
            after=after(entry, self._plan, situation) if captured and entry else None,
        )

    def _door_case(self, conditions: Conditions, situation: Situation, decision: Decision, door: Doorway) -> Case:
        fate = doors.FATES[situation.runtime]
        return Case(
            when=conditions,
            fate=fate,
            verdict="reset" if fate == "refused" else decision.fate,
            entry=door.door.pointer,
            item=door.pointer,
            port=situation.port,
            reason=doors.reason(door, situation),
            example=spelled(self._plan, situation),
            steps=tuple(self._steps(decision)),
            misses=(),
            after=doors.after(door, situation) if fate == "taken" else None,
        )

    def _steps(self, decision: Decision) -> Iterator[Step]:
        for step in decision.path:
            comment = step.rule.comment
            pointer = comment if comment.startswith("/add_") else None
            line = self._lines[step.chain] + step.index
            yield Step(step.chain, line, rule_text(step.rule), pointer, "" if pointer else comment)


def _reason(decision: Decision, entry: Interception | None, situation: Situation) -> str:
    if decision.fate == "captured":
        return f"redirected to port {decision.port}, where the runtime listens"
    if decision.fate == "passed":
        return "no rule redirects or refuses it"
    if decision.port is not None:
        if situation.established:
            return f"redirected to port {decision.port}, whose listener does not know a connection that is older"
        if situation.runtime == "down":
            return f"redirected to port {decision.port}, where nobody listens: the host resets it"
    how = {
        "reset": "with a TCP reset",
        "unreachable": "with an ICMP error, port unreachable",
        "dropped": "silently",
    }[decision.fate]
    why = _why(entry, situation) if entry and decision.port is None else decision.path[-1].rule.comment
    return f"refused by the guard {how}: {why}"


def _why(entry: Interception, situation: Situation) -> str:
    """What about a packet for a destination of ``entry`` kept it from the redirect."""
    if situation.established:
        return "the connection is older than the rules, and must not go on in plaintext"
    if situation.protocol == "udp":
        return "UDP to what is captured (udp: reject)"
    if situation.way == "through":
        if entry.takes_forwarded:
            return "this host forwards it to what is captured, from no interface that is (forwarded_interfaces)"
        return "this host forwards it to what is captured (forwarded: reject)"
    if situation.family == "ipv6" and entry.ipv6 == "reject":
        return "IPv6 to what is captured (ipv6: reject)"
    if situation.newer:
        return "the cgroup is newer than the rules, and may be a captured one made anew"
    return "it is about what the entry captures"


def _assumed(flow: Flow, plan: Plan) -> Iterator[str]:
    """What was taken for granted, since the flow does not say otherwise."""
    if flow.protocol is None:
        yield "TCP (`udp` asks for the other)"
    if not flow.established:
        yield "a new connection (`established`: one that is older than the rules)"
    if flow.runtime == "up":
        yield "the runtime is up (`runtime down`)"
    if not flow.mark:
        ours = f" (`mark {plan.marks[0]}`: one of the runtime's own)" if plan.marks else ""
        yield f"the socket of an application{ours}"
    if flow.cgroup is not None and not flow.newer:
        yield "the cgroup is older than the rules, or looked up since (`newer`)"
    known = {group.name for group in plan.operator_sets}
    for name in sorted((flow.sets or frozenset()) - known):
        near = nearest(name, known)
        yield f"nothing about set {name}, which the document does not have" + (
            f" (did you mean `{near}`?)" if near else ""
        )
    if flow.established and flow.source.ports is None:
        yield f"the client's port is {CLIENT_PORT} (`from :PORT`)"
