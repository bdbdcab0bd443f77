"""How dangerous a change is."""

from __future__ import annotations

from enum import StrEnum


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
