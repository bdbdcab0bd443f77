"""How dangerous a change is."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from tng_compiler.diff.trust import FieldChange


class Danger(StrEnum):
    """The most dangerous first.

    ``unprotected``: it leaves in plaintext, or less is demanded of the peer. ``peer``: it is refused until the other
    side has changed too. ``refused``: it is refused from now on. ``trust``: other settings, which the peer need not
    know of. ``attested``: it was refused, and is captured now.
    """

    UNPROTECTED = "unprotected"
    PEER = "peer"
    REFUSED = "refused"
    TRUST = "trust"
    ATTESTED = "attested"


def danger_of(fields: Iterable[FieldChange]) -> Danger:
    """Return how dangerous changes of settings are together."""
    weights = {field.weight for field in fields}
    return Danger.UNPROTECTED if "weaker" in weights else Danger.PEER if "peer" in weights else Danger.TRUST
