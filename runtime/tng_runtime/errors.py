"""The two families of failure.

``HostError`` is the operator's: the program cannot start or go on, and says what to do.
``Refused`` is the peer's: one connection ends, its code is logged and counted, the others go on.
Nothing else leaves the parsing and verification of foreign bytes.
"""

from __future__ import annotations

from enum import StrEnum


class ExplainedCode(StrEnum):
    """A stable refusal code; ``meaning`` and ``action`` are one line of plain text each.

    Codes are an interface: logs, counters and alerts are built on them, so a code never changes its meaning and a
    retired one is not used again. ``docs/security.md`` lists them all.
    """

    meaning: str
    action: str

    def __new__(cls, value: str, meaning: str, action: str) -> ExplainedCode:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.action = action
        return member


class LinkCode(ExplainedCode):
    """The codes of a connection itself: no TLS as RATS-TLS wants it, or no network under it.

    Those of attestation are ``attest.codes.Code``.
    """

    TLS_PLAINTEXT = (
        "TLS-PLAINTEXT",
        "The peer does not speak TLS.",
        "Look at who answers or calls there: without TNG on both sides there is no tunnel.",
    )
    TLS_VERSION = (
        "TLS-VERSION",
        "The peer does not speak TLS 1.3, the only version that is spoken here.",
        "Look at who answers or calls there; update the peer.",
    )
    TLS_ALPN = (
        "TLS-ALPN",
        "The peer does not speak `rats-tls`, one stream per connection.",
        "Look at who answers or calls there; the Rust TNG needs `rats_tls.multiplex: false`.",
    )
    TLS_NO_CERTIFICATE = (
        "TLS-NO-CERTIFICATE",
        "A client shows no certificate to a side that verifies, or a peer wants one that this side does not show.",
        "Give the client's entry an `attest` block.",
    )
    TLS_CERT_SIZE = (
        "TLS-CERT-SIZE",
        "The peer's certificate message is larger than 1 MiB.",
        "Find out why the peer's evidence is that large (event logs, additional devices) and shorten it.",
    )
    TLS_DEADLINE = (
        "TLS-DEADLINE",
        "The peer did not finish the handshake in time.",
        "Look at the load of the peer and at the path to it; scanners that say nothing end like this too.",
    )
    TLS_REFUSED = (
        "TLS-REFUSED",
        "The peer refused this side with an alert, which the line names.",
        "Read the peer's log for this time. After `bad certificate` it says which demand this side's evidence misses.",
    )
    TLS_BROKEN = (
        "TLS-BROKEN",
        "The peer ended the connection in the middle of the handshake.",
        "Read the peer's log for this time: it may have refused this side.",
    )
    TLS_FLOOD = (
        "TLS-FLOOD",
        "The peer sends key updates or session tickets without end, which cost time and carry nothing.",
        "Find out who the peer is: no program needs that many.",
    )
    TLS_HANDSHAKE = (
        "TLS-HANDSHAKE",
        "The handshake failed; OpenSSL's reason is in the detail.",
        "Compare the versions of both sides; a signature that does not verify means a peer without the key it claims.",
    )
    NET_DIAL = (
        "NET-DIAL",
        "The destination could not be reached.",
        "Refused: nobody listens there (for an ingress the egress, for an egress the service), or a firewall rejects. "
        "No route: that is so, or a firewall rejects. No answer: a firewall drops it, or the host is down.",
    )
    NET_DIRECT = (
        "NET-DIRECT",
        "The connection was made straight to the listen port instead of being captured.",
        "Let the client use the service's own address and port; relaying this would make a loop.",
    )
    NET_DOOR = (
        "NET-DOOR",
        "A program asked a proxy of an ingress for what it does not give, or did not say who it is.",
        "Look at the program's proxy settings: what the proxy speaks, name and password, `dst_filters`, and a "
        "destination on another host.",
    )
    NET_ORIGIN = (
        "NET-ORIGIN",
        "The origin of a request that an HTTP proxy forwarded did not answer it.",
        "Read the logs of the other gateway and of the service for this time: either may have ended the connection.",
    )
    NET_RESET = (
        "NET-RESET",
        "The service behind the egress took the connection and reset it at once.",
        "Read the log of that service for this time: it may not take connections from this host, or no more of them.",
    )
    NET_LOOP = (
        "NET-LOOP",
        "A connection that this program dialled itself was captured and came back.",
        "Look for another table on this host that rewrites marks (`nft list ruleset`), and let it spare ours.",
    )
    NET_BUSY = (
        "NET-BUSY",
        "More handshakes are under way than there is room for, or too large a part of them is this peer's.",
        "Look at who begins handshakes and does not end them; `--max-handshakes` gives more room.",
    )
    NET_LIMIT = (
        "NET-LIMIT",
        "This host has no sockets left to give.",
        "Raise the limit of open files (`LimitNOFILE=` of the unit), or look for who floods it.",
    )


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

    def __init__(self, code: ExplainedCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
