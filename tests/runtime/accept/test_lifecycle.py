"""The lifecycle as scripts: events in, actions out, no socket anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from tng_runtime.accept.lifecycle import TABLES, Action, Event, Lifecycle, State
from tng_runtime.manifest import Role

ROLES: tuple[Role, ...] = ("ingress", "egress")

OPENING: dict[Role, list[tuple[Event, Action]]] = {
    "ingress": [
        (Event.CAPTURED, Action.CARRY),
        (Event.VERIFIED, Action.RELAY),
    ],
    "egress": [
        (Event.CAPTURED, Action.CARRY),
        (Event.VERIFIED, Action.DIAL),
        (Event.CONNECTED, Action.RELAY),
    ],
}
CLOSINGS: dict[str, list[tuple[Event, Action]]] = {
    "application_ends_first": [
        (Event.PLAIN_EOF, Action.SEND_CLOSE_NOTIFY),
        (Event.TLS_CLOSE_NOTIFY, Action.CLOSE),
    ],
    "peer_ends_first": [
        (Event.TLS_CLOSE_NOTIFY, Action.SEND_FIN),
        (Event.PLAIN_EOF, Action.CLOSE),
    ],
    "stream_cut": [(Event.TLS_BROKEN, Action.ABORT)],
    "stream_cut_after_the_application_ended": [
        (Event.PLAIN_EOF, Action.SEND_CLOSE_NOTIFY),
        (Event.TLS_BROKEN, Action.ABORT),
    ],
    "application_reset_after_the_peer_ended": [
        (Event.TLS_CLOSE_NOTIFY, Action.SEND_FIN),
        (Event.PLAIN_BROKEN, Action.ABORT),
    ],
    "application_reset": [(Event.PLAIN_BROKEN, Action.ABORT)],
    "flood": [(Event.TLS_FLOODED, Action.ABORT)],
    "drained": [(Event.DRAIN_OVER, Action.ABORT)],
}
RELAYING = (State.OPEN, State.PLAIN_ENDED, State.TLS_ENDED)


def play(life: Lifecycle, script: Sequence[tuple[Event, Action]]) -> None:
    for event, action in script:
        assert life.on(event) is action, event


@pytest.mark.parametrize("closing", CLOSINGS.values(), ids=CLOSINGS)
@pytest.mark.parametrize("role", ROLES)
def test_a_connection_opens_and_ends(role: Role, closing: list[tuple[Event, Action]]) -> None:
    life = Lifecycle(role)
    play(life, OPENING[role])
    before = life.state
    play(life, closing)
    assert (before, life.state) == (State.OPEN, State.CLOSED)


@pytest.mark.parametrize(
    ("role", "state", "event"),
    [
        (role, state, event)
        for role, state, event in itertools.product(ROLES, State, Event)
        if (state, event) not in TABLES[role]
    ],
    ids=lambda value: value if isinstance(value, str) else value.name.lower(),
)
def test_what_cannot_happen_is_a_bug(role: Role, state: State, event: Event) -> None:
    life = Lifecycle(role)
    life.state = state
    with pytest.raises(AssertionError, match=event.name):
        life.on(event)
    assert life.state is state


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_of_the_table_can_be_reached_and_the_end_is_final(role: Role) -> None:
    reached = {State.ACCEPTED}
    while more := {after for (state, _), (after, _) in TABLES[role].items() if state in reached} - reached:
        reached |= more
    assert reached == set(State) - ({State.DIALLING} if role == "ingress" else set())
    assert not any(state is State.CLOSED for state, _ in TABLES[role])


@pytest.mark.parametrize("role", ROLES)
def test_every_way_to_the_backend_and_to_the_relay_leads_through_the_verification(role: Role) -> None:
    """All paths, by exhaustion: the table has no cycle, so each is finite."""
    guarded = {Action.RELAY} | ({Action.DIAL} if role == "egress" else set())
    seen: set[Action] = set()

    def walk(state: State, verified: bool) -> None:
        for (before, event), (after, action) in TABLES[role].items():
            if before is not state:
                continue
            now = verified or event is Event.VERIFIED
            seen.add(action)
            assert now or action not in guarded, (state, event)
            assert now or after not in RELAYING, (state, event)
            walk(after, now)

    walk(State.ACCEPTED, verified=False)
    assert guarded <= seen


@pytest.mark.parametrize("role", ROLES)
def test_every_open_state_ends_when_the_drain_is_over(role: Role) -> None:
    for state in RELAYING:
        assert TABLES[role][state, Event.DRAIN_OVER] == (State.CLOSED, Action.ABORT)
