"""The catalogue of hostile inputs by number: what each line is about, for the table in docs/security.md.

Test ids carry the numbers, as ``h39_...`` or ``test_59_...``; nothing else ties a test to its line.
"""

from __future__ import annotations

import re

# Lines that only the compiler meets; its golden files in snapshots/refused prove them.
COMPILER = frozenset({70, 71, 81, 82, 83, 85})

LINES = {
    1: "a peer of TLS 1.2 or less",
    2: "no ALPN, or another one",
    3: "ALPN `h2`",
    4: "an honest certificate with another private key",
    5: "no client certificate to a verifying egress",
    6: "plaintext where TLS is due",
    7: "a peer that says nothing, or a byte at a time",
    8: "a hello, then 16 MB of junk",
    9: "tickets, PSK or early data offered",
    10: "a server that gives tickets",
    11: "floods of KeyUpdate and of empty records",
    12: "FIN without close_notify",
    13: "certificate messages of 48 KB to more than 1 MB",
    14: "evidence only in a second certificate",
    15: "another key while a verdict is kept",
    16: "no evidence extension",
    17: "two evidence extensions",
    18: "unknown critical extension, wrong usage",
    19: "certificate dates",
    20: "broken self-signature, issuer is not subject",
    21: "weak signatures and keys",
    22: "evidence of another certificate",
    23: "bytes after the DER or the CBOR",
    24: "a token for evidence, and the reverse",
    25: "wrong or no CBOR tag",
    26: "CBOR of another shape, depth or length",
    27: "CBOR map: duplicate keys, wrong types",
    28: "hash algorithms 0, 2, 99",
    29: "runtime data without the one pubkey-hash",
    30: "runtime data that is not canonical JSON",
    31: "additional evidence that is no object",
    33: "report data of other bytes",
    34: "an honest peer's evidence, replayed",
    35: "the TEE's name changed",
    36: "evidence that the service does not affirm",
    38: "evidence without report data",
    39: "alg none, HS256 keyed with the public key",
    40: "header alg is not the key's",
    41: "no x5c, or not one",
    42: "x5c leaf is not the jwk",
    43: "unknown CA, wrong order, no CA bit, expired",
    44: "x5c in either base64 is accepted",
    45: "jku, x5u, kid never fetched; crit refused",
    46: "exp, nbf, iat",
    48: "unknown or missing profile",
    49: "submods empty, absent, without cpu0",
    50: "any submod not affirming, odd status",
    51: "status against its vector",
    52: "policy ids missing, other, different",
    53: "runtime data claims missing or another's",
    54: "simple token that does not allow",
    55: "duplicate keys, segments, padding, 10 MB",
    56: "altered or malformed signature",
    57: "a valid token of another TEE",
    58: "a service that answers nonsense, slowly, endlessly",
    59: "service down: kept verdicts only, until they end",
    60: "a rogue CA beside a pin",
    61: "proxies in the environment",
    62: "an agent that answers nonsense or nothing",
    63: "the agent goes away and comes back",
    64: "many clients, one request per certificate",
    65: "SIGTERM, SIGKILL, crash while clients send",
    66: "rules of a killed run",
    67: "IPv6 to a captured port",
    69: "a cgroup or set that is missing",
    70: "names that would inject",
    71: "ports and networks out of range",
    72: "no nft, no CAP_NET_ADMIN, no root",
    73: "straight to the listen port",
    74: "its own connections are never captured",
    75: "the instance lock is taken",
    76: "the backend is dialled after the verification",
    81: "no_ra beside attest or verify, or none",
    82: "empty policy_ids",
    83: "misspelt fields",
    84: "pins that are empty, not PEM, expired",
    85: "two tunnels in one entry, two entries on one port",
    86: "no_ra meets a side that verifies",
    87: "100 KB at once to a peer without evidence",
    88: "entries of different trust, many starts",
    101: "anycast by advertisement, by subnet, by route",
    102: "a spoofed SYN for a connection that is there",
    103: "frames for loopback addresses from the link",
    104: "a socket bound to a device, with fast-open data",
    105: "somebody else on the listen port",
    106: "a flush, and foreign deletes of table, chain, rule",
    107: "stop and start at once, under load",
    108: "`tng down` while an application holds a connection",
    109: "a container or guest behind the host",
    110: "UDP to a captured destination",
    111: "another table sets or restores marks",
    112: "an answer long after the client's half-close",
    113: "a directory or parent that others can write to",
    114: "a signer below the pin that is none by its usages",
}

# The name of a test may be about several lines, a case of a table is about one.
_NUMBERS = re.compile(r"(?<![a-z0-9])(?:test_((?:\d{2,3}_)+)|(?:test_)?h(\d{2,3})_)")


def numbers(test: str) -> set[int]:
    """The lines that a test is about, by its id."""
    found = ["".join(groups) for groups in _NUMBERS.findall(test.rpartition("::")[2])]
    return {int(number) for group in found for number in group.strip("_").split("_")} & LINES.keys()
