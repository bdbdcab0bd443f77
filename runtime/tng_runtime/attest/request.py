"""The restful attestation service's language: the body of ``POST {as_addr}/attestation``, and what its answers mean.

Two dialects exist: the newer service takes a list of verification requests, the older one a single flat request, and answers the newer
form with an error that names the member it misses. Bytes only; the call itself is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from tng_runtime.attest.evidence import CocoEvidence

# The largest token (RA-TOKEN-SIZE) is 1 MiB too: nothing longer is worth reading.
MAX_ANSWER_BYTES = 1 << 20


class Dialect(Enum):
    """Which form of request the service takes."""

    LIST = "list"
    FLAT = "flat"


def attestation_request(evidence: CocoEvidence, policy_ids: Sequence[str], dialect: Dialect = Dialect.LIST) -> bytes:
    """The JSON body; raises ``Refused`` (RA-SERVICE-DIALECT) when the flat form would drop additional evidence."""
    raise NotImplementedError


def wants_flat(status: int, body: bytes) -> bool:
    """Whether an answer to the list form means that the service only knows the flat one."""
    raise NotImplementedError


def read_answer(status: int, body: bytes) -> str:
    """The token of an answer; raises ``Refused`` (RA-SERVICE-STATUS, RA-SERVICE-ANSWER, RA-SERVICE-SIZE)."""
    raise NotImplementedError
