"""The two families of failure.

``HostError`` is the operator's: the program cannot start or go on, and says what to do.
``Refused`` is the peer's: one connection ends, its code is logged and counted, the others go on.
Nothing else leaves the parsing and verification of foreign bytes.
"""

from __future__ import annotations


class HostError(Exception):
    """The host, the manifest or a service is not as the runtime needs it.

    ``exit_code`` is the command line's: 1 a document is wrong, 2 usage or a bug of ours, 3 the host is not ready.
    """

    def __init__(self, message: str, *, hint: str, exit_code: int = 3) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


class Refused(Exception):
    """A peer, its evidence or the word of a service about it was not accepted.

    ``code`` is stable (``RA-...`` for attestation, ``TLS-...``, ``NET-...``); ``detail`` carries no secret or token.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
