"""What the compiler and the runtime both must know, each of it once: paths, names, alphabets, two small rules.

Constants and pure functions; the patterns are for ``re.fullmatch``. The JSON Schemas repeat some of them, because
editors read those: a test holds them together.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from ipaddress import ip_address

HOME = "https://pypi.org/project/tng/"
"""Where people find the program: ``project.urls`` of pyproject.toml."""

RUN_DIRECTORY = "/run/tng"
"""The locks of the runs, and the documents that are compiled for one: ``TABLE.PID``."""


def run_directory(uid: int, owner: int | None, runtime_directory: str | None) -> str:
    """Where the runs of user ``uid`` have them; ``owner`` is whose ``RUN_DIRECTORY`` is, None if it is not there.

    ``runtime_directory`` is the user's own (XDG_RUNTIME_DIR), for runs that need no privileges.
    """
    if uid in (0, owner):
        return RUN_DIRECTORY
    return f"{runtime_directory}/tng" if (runtime_directory or "").startswith("/") else f"/tmp/tng-{uid}"  # noqa: S108


STATE_DIRECTORY = "/var/lib/tng"
"""The documents that were applied, by table: ``TABLE/NNNN-TIME-DIGEST``, hidden until they serve."""

RECORD = r"[0-9]{4,9}-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}"
"""The name of one of them."""

KEPT_RECORDS = 5
STATUS_SUFFIX = ".status"
"""After ``TABLE.NAMESPACE`` in that directory: the unix socket on which a run says over HTTP how it stands."""

NFT_BINDING = "/usr/lib/python3/dist-packages/nftables/nftables.py"
"""Of Debian's python3-nftables."""

MANIFEST, RULESET, GUARD = "manifest.json", "ruleset.nft", "guard.nft"
"""What a compiled directory holds."""

ORDERS = "run.json"
"""Beside them, for a unit: ``{"record": path, "probes": [...]}``, what ``tng apply`` says on the command line."""

PREPARED = "prepared"
"""After a record's hidden name, in place of a process id: of a document that a unit is about to run."""


def hidden_record(name: str, whose: int | str) -> str:
    """The name of a record until it serves: ``whose`` is the process that makes it serve, or ``PREPARED``."""
    return f".{name}.{whose}"


MANIFEST_VERSION = 2
"""A runtime takes no other."""

TABLE = r"tng(_[a-z0-9_]{1,32})?"
GUARD_SUFFIX = "_guard"
"""After a table's name: that of the table which the runtime owns."""

CAPTURED, ARRIVED, REJECTED = "_captured", "_arrived", "_rejected"
"""After ``ingress_0``, for the entry ``/add_ingress/0``: its counters of connections that were redirected, of those
that no filter of the host has kept from its listener, and of packets that its guard refused."""

SQUATTED, DIRECT, STRAYED = "squatted_listener", "direct_to_listener", "strayed_loopback"
"""Counters: to a listen port that somebody else took; to one of ours past the redirect; loopback on the wrong wire."""


SLOTS = 58
"""What 128 labels of connection tracking allow, two each, beside the instance without a name."""


def slot(table: str) -> int | None:
    """The slot of a named instance by its table (0 to 57), from which its numbers follow: ports, labels, way back.

    None for the one without a name, ``tng``. Two instances with one slot cannot be in one network namespace.
    """
    return None if table == "tng" else zlib.crc32(table.encode()) % SLOTS


@dataclass(frozen=True, slots=True)
class WayBack:
    """How answers to a client's address come back to this host: packets with ``mark`` are routed by ``routing_table``.

    ``priority`` is that of the routing rule which says so (ip-rule(8)).
    """

    mark: int
    routing_table: int
    priority: int


def way_back(table: str) -> WayBack:
    """The numbers of the instance that has ``table``.

    The marks have none of the bits that others look at: kube-proxy's 0x4000 and 0x8000, Cilium's 0x0f00, Calico's and
    Tailscale's upper half, 0x80 of the AWS network plugin. The rule comes before those of others, which lead away.
    """
    found = slot(table)
    number = 0 if found is None else 1 + found
    return WayBack(0x3000 + number, 0x7467 + number, 116)


MAX_CERTIFICATES = 1 << 20
"""Bytes of a file of certificates that a document names."""

UNKNOWN_SIGNER = frozenset({2, 7, 18, 19, 20, 21, 22, 24, 25, 27, 30, 31, 33})
"""How OpenSSL (x509_vfy.h) says that a certificate does not lead to an authority which is believed."""

CGROUP_COMPONENT = r"[A-Za-z0-9_.@:+,=~\\-]{1,255}"
"""One name in a cgroup's path, of what systemd and container runtimes use and nft can quote; not ``.`` or ``..``."""

SET_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,30}"
"""A set of our tables, and an ipset of the kernel (IPSET_MAXNAMELEN)."""


def lock_name(table: str, namespace: int) -> str:
    """The file in ``RUN_DIRECTORY`` that the run of ``table`` locks, its process id in it; the inode of the network."""
    return f"{table}.{namespace}.lock"


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.1."""
_HEADER_VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
"""RFC 9110, section 5.5, without what is not ASCII."""
_FRAMING = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""What frames a message, or says what its body is."""


def is_header_name(name: str) -> bool:
    """Whether HTTP has a header of that name."""
    return _HEADER_NAME.fullmatch(name) is not None


def is_header_value(value: str) -> bool:
    """Whether a header may have that value."""
    return _HEADER_VALUE.fullmatch(value) is not None


def is_framing(name: str) -> bool:
    """Whether a header is for the HTTP client alone to set."""
    return name.lower() in _FRAMING


def is_address(host: str) -> bool:
    """Whether a host is an address of IPv4 or IPv6, with or without brackets, and no name."""
    try:
        ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host, by its name or address (with or without brackets), is this one: RFC 6761, section 6.3; RFC 6890.

    ``127.0.0.0/8`` and ``::1``, also as IPv4 in IPv6.
    """
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
