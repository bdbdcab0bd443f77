"""``capture_dst``: what a packet must be addressed to."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Note, Place
from tng_compiler.diagnostics.pointer import child
from tng_compiler.diagnostics.quoting import json_text
from tng_compiler.model.block import Block
from tng_compiler.model.host import HostError, parse_host, special
from tng_compiler.model.types import CaptureDst, Network, PortRange, Role
from tng_compiler.shape.plain import plain
from tng_schema import contract

_FIELDS = frozenset({"host", "ipset", "port", "port_end"})
MOST_REPEATED = 500
_IPSET = re.compile(contract.SET_NAME, re.ASCII)


class Destinations(NamedTuple):
    """The items, each once, and pointers of the first that are there again, each with its equal."""

    items: tuple[CaptureDst, ...]
    repeated: tuple[tuple[str, str], ...]


def destinations(netfilter: Block, role: Role, *, local: bool) -> Destinations | None:
    """Return the items, None when ``capture_dst`` is absent. ``local``: whether an egress also takes local traffic.

    An item with a fault is left out, and the fault reported: without its refused field it would capture more.
    """
    value = netfilter.members.get("capture_dst")
    pointer = child(netfilter.pointer, "capture_dst")
    if not netfilter.usable("capture_dst"):
        return None
    bad = netfilter.findings.shape.bad
    items = enumerate(value) if isinstance(value, list) else ((None, value),)
    found: dict[tuple[Network | None, str | None, PortRange | None], CaptureDst] = {}
    repeated: list[tuple[str, str]] = []
    for index, item in items:
        where = pointer if index is None else f"{pointer}/{index}"
        if isinstance(item, dict) and (not bad or where not in bad):
            built = _flawless(item, where)
            if not built:
                if netfilter.findings.full:
                    break
                built = _destination(Block(item, where, netfilter.findings), role, local=local)
            if built:
                first = found.setdefault(built[1:], built)
                if first is not built and len(repeated) < MOST_REPEATED:
                    repeated.append((where, first.pointer))
                if isinstance(value, list) and index is not None:
                    value[index] = None  # nobody reads it again, and what was read of a document is most of the memory
    return Destinations(tuple(found.values()), tuple(repeated))


@lru_cache(maxsize=1024)
def _port_range(first: int, last: int) -> PortRange:
    """The same range is one value, however many items name it."""
    return PortRange(first, last)


def _flawless(item: dict[str, Any], where: str) -> CaptureDst | None:
    """Build an item without any fault, a few times faster than ``_destination``; None when in doubt."""
    if not plain(item):
        return None
    host, port, ipset = item.get("host"), item.get("port"), item.get("ipset")
    if ipset is not None and (host is not None or not _IPSET.fullmatch(ipset)):
        return None
    ports = None
    if port is not None:
        last = item.get("port_end") or port
        if last < port:
            return None
        ports = _port_range(port, last)
    elif (host is None and ipset is None) or item.get("port_end") is not None:
        return None
    network = None
    if host is not None:
        try:
            network = parse_host(host)
        except HostError:
            return None
        if special(network):
            return None
    return CaptureDst(where, network, ipset, ports)


def _destination(block: Block, role: Role, *, local: bool) -> CaptureDst | None:
    before = block.findings.errors
    get = block.members.get
    whole = all(name in _FIELDS and (value is None or block.usable(name)) for name, value in block.members.items())
    host, ipset, port, port_end = get("host"), get("ipset"), get("port"), get("port_end")
    network = _network(block, host, role, local=local) if host is not None else None
    if ipset is not None:
        _check_ipset(block, ipset)
    ports = None
    if port is not None or port_end is not None:
        ports = ports_of(block, port, port_end)
    if whole and host is None and ipset is None and port is None and port_end is None:
        message = "expected a host, an ipset or a port in the destination, found none"
        block.findings.error(
            Code.EMPTY_DESTINATION,
            Place(block.pointer),
            message,
            'an empty destination is no filter; "capture_dst": [] captures all TCP',
        )
    if not whole or block.findings.errors > before:
        return None
    return CaptureDst(block.pointer, network, ipset, ports)


def _network(block: Block, host: Any, role: Role, *, local: bool) -> Network | None:
    if not isinstance(host, str) or not block.usable("host"):
        return None
    try:
        network = parse_host(host)
    except HostError as error:
        block.findings.error(error.code, block.value_at("host"), error.message + json_text(host), error.help)
        return None
    kind = special(network)
    if kind is None or (role == "egress" and kind == "loopback" and local):
        return network
    if role == "ingress":
        message = f"expected an address of another host, found the {kind} address {json_text(host)}"
        help_ = "an ingress captures only unicast TCP that leaves for other hosts"
        block.findings.error(Code.INGRESS_NEVER_REACHES, block.value_at("host"), message, help_)
    else:
        message = f"expected an address that connections arrive at, found the {kind} address {json_text(host)}"
        help_ = {
            "loopback": "only this host itself connects there: add capture_local_traffic: true",
            "unspecified": "leave `host` out to mean every address of this host",
        }.get(kind, "no TCP connection has such a destination")
        block.findings.error(Code.EGRESS_NEVER_RECEIVES, block.value_at("host"), message, help_)
    return None


def _check_ipset(block: Block, name: object) -> None:
    if "host" in block.members and block.members["host"] is not None:
        message = "expected `host` or `ipset` in a destination, found both"
        notes = (Note(block.key_at("host"), "the host is here"),)
        block.findings.error(
            Code.HOST_AND_IPSET, block.key_at("ipset"), message, "make two destinations of them", notes
        )
    if isinstance(name, str) and block.usable("ipset") and not _IPSET.fullmatch(name):
        message = f"expected a set name of letters, digits, `_`, `.` and `-`, at most 31, found {json_text(name)}"
        block.findings.error(Code.BAD_IPSET_NAME, block.value_at("ipset"), message, "it begins with a letter or `_`")


def ports_of(block: Block, port: object, port_end: object) -> PortRange | None:
    """Return what `port` and `port_end` say, of which one is there; None after a fault, which is reported."""
    if port is None:
        if not block.said("port"):
            message = "expected `port` beside `port_end`, found none"
            help_ = f'write "port": 1, "port_end": {port_end}' if type(port_end) is int else None
            block.findings.error(Code.PORT_END_ALONE, block.key_at("port_end"), message, help_)
        return None
    if type(port) is not int or not block.usable("port"):
        return None
    if port_end is None:
        return PortRange(port, port)
    if type(port_end) is not int or not block.usable("port_end"):
        return None
    if port_end < port:
        message = f"expected a `port_end` of at least {port}, found {port_end}"
        notes = (Note(block.value_at("port"), "the range begins here"),)
        block.findings.error(Code.PORT_END_BELOW_PORT, block.value_at("port_end"), message, "swap the two", notes)
        return None
    return PortRange(port, port_end)
