"""What both forms of a token come down to once every rule of their own has been satisfied."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Appraisal:
    """An affirmed peer: the policies that appraised it, and the runtime data claims still to be compared."""

    policy_ids: frozenset[str]
    runtime_claims: object
