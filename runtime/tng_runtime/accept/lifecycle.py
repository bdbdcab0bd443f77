"""What may happen to a captured connection, as a table: states, events, and what each transition obliges to.

Sans-IO: nothing here touches a socket or a clock, so a script of events tests every path. Two rules are visible in the
table. The order of verification and dialling: on an egress no transition leads to DIAL except that of VERIFIED, and on
neither side does anything but OPEN relay. How a verified stream comes about is the carrier's (``relay.carrier``). And
half-close: the end of one direction (FIN on the plaintext side, close_notify on the TLS side, RFC 8446 section 6.1) is
passed on while the other direction stays open; only both ends together close. A TLS stream that ends without
close_notify was cut, by an attacker for all we know, and the application must see a reset, not an end. Who does not
come as far as OPEN is refused: an exception ends the way through the table, and both sockets with a reset.

    ingress: ACCEPTED -carry-> CARRYING -verified-> OPEN
    egress:  ACCEPTED -carry-> CARRYING -verified-> DIALLING -connected-> OPEN
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from tng_runtime.manifest import Role


class State(Enum):
    """Where a connection is."""

    # By identity: Enum's own is a call of Python for each look into the table.
    __hash__ = object.__hash__

    ACCEPTED = auto()
    CARRYING = auto()
    DIALLING = auto()
    OPEN = auto()
    PLAIN_ENDED = auto()
    TLS_ENDED = auto()
    CLOSED = auto()


class Event(Enum):
    """What happened."""

    __hash__ = object.__hash__

    CAPTURED = auto()
    VERIFIED = auto()
    CONNECTED = auto()
    PLAIN_EOF = auto()
    TLS_CLOSE_NOTIFY = auto()
    PLAIN_BROKEN = auto()
    TLS_BROKEN = auto()
    TLS_FLOODED = auto()
    DRAIN_OVER = auto()


class Action(Enum):
    """What the transition obliges to."""

    CARRY = auto()
    DIAL = auto()
    RELAY = auto()
    SEND_CLOSE_NOTIFY = auto()
    SEND_FIN = auto()
    CLOSE = auto()
    ABORT = auto()


Table = dict[tuple[State, Event], tuple[State, Action]]

_RELAYING = (State.OPEN, State.PLAIN_ENDED, State.TLS_ENDED)

_RELAY: Final[Table] = {
    (State.OPEN, Event.PLAIN_EOF): (State.PLAIN_ENDED, Action.SEND_CLOSE_NOTIFY),
    (State.OPEN, Event.TLS_CLOSE_NOTIFY): (State.TLS_ENDED, Action.SEND_FIN),
    (State.PLAIN_ENDED, Event.TLS_CLOSE_NOTIFY): (State.CLOSED, Action.CLOSE),
    (State.TLS_ENDED, Event.PLAIN_EOF): (State.CLOSED, Action.CLOSE),
}
_ENDINGS: Final[Table] = {
    (state, event): (State.CLOSED, Action.ABORT)
    for state in _RELAYING
    for event in (Event.PLAIN_BROKEN, Event.TLS_BROKEN, Event.TLS_FLOODED, Event.DRAIN_OVER)
}
TABLES: Final[dict[Role, Table]] = {
    "ingress": {
        (State.ACCEPTED, Event.CAPTURED): (State.CARRYING, Action.CARRY),
        (State.CARRYING, Event.VERIFIED): (State.OPEN, Action.RELAY),
        **_RELAY,
        **_ENDINGS,
    },
    "egress": {
        (State.ACCEPTED, Event.CAPTURED): (State.CARRYING, Action.CARRY),
        (State.CARRYING, Event.VERIFIED): (State.DIALLING, Action.DIAL),
        (State.DIALLING, Event.CONNECTED): (State.OPEN, Action.RELAY),
        **_RELAY,
        **_ENDINGS,
    },
}


class Lifecycle:
    """One connection's place in the table of its role."""

    __slots__ = ("_table", "state")

    def __init__(self, role: Role) -> None:
        self._table = TABLES[role]
        self.state = State.ACCEPTED

    def on(self, event: Event) -> Action:
        """Take the transition for ``event``; one that the table does not know is a bug of ours (``AssertionError``)."""
        step = self._table.get((self.state, event))
        if step is None:
            raise AssertionError(f"{event.name} cannot happen to a connection that is {self.state.name}")
        self.state, action = step
        return action
