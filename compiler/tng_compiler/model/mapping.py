"""``mapping``: ports to connect to, instead of a capture."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Place
from tng_compiler.diagnostics.quoting import json_text
from tng_compiler.model.block import Block
from tng_compiler.model.service import HOST_NAME
from tng_compiler.model.types import Mapping, MappingRule, PortRange, Role

ANY = "0.0.0.0"  # noqa: S104 - what the language says; a warning says what that means
MOST_PORTS = 512
"""Of one entry: each is a listening socket, which every worker has."""


def mapping(block: Block, role: Role) -> Mapping:
    """Build the ports of an entry; faults are reported, and what has one is left out."""
    rules = []
    for pair in _pairs(block, role):
        if block.findings.full:
            break
        rule = _rule(pair)
        if rule is not None:
            rules.append(rule)
    if (count := sum(rule.ports.last - rule.ports.first + 1 for rule in rules)) > MOST_PORTS:
        message = f"expected at most {MOST_PORTS} ports in a mapping, found {count}"
        block.findings.error(Code.OUT_OF_RANGE, Place(block.pointer), message, "each is a socket of its own: capture")
    return Mapping(block.pointer, tuple(rules))


def _pairs(block: Block, role: Role) -> list[Block]:
    """The objects that have an ``in`` and an ``out``."""
    example = '"in": {"port": 10001}, "out": {"host": "192.0.2.1", "port": 20001}'
    if block.said("rules"):
        if block.said("in") or block.said("out"):
            message = "expected `rules`, or `in` and `out`, found both"
            block.findings.error(Code.MAPPING_UNSAID, block.key_at("rules"), message, "move the pair into the list")
        rules = block.members.get("rules")
        items = rules if isinstance(rules, list) and block.usable("rules") else []
        found = [
            Block(item, f"{block.pointer}/rules/{index}", block.findings)
            for index, item in enumerate(items)
            if isinstance(item, dict)
        ]
        if rules == []:
            message = f"expected ports that this {role} listens on, found an empty list"
            block.findings.error(Code.MAPPING_UNSAID, block.value_at("rules"), message, f"such as {{{example}}}")
        return found
    if not (block.said("in") and block.said("out")):
        message = "expected `in` and `out`, or `rules`, in the mapping, found none"
        block.findings.error(Code.MAPPING_UNSAID, Place(block.pointer), message, f"such as {example}")
        return []
    return [block]


def _rule(pair: Block) -> MappingRule | None:
    comes, goes = pair.block("in"), pair.block("out")
    if comes is None or goes is None:
        return None
    host, out_host = own_address(comes), _host(goes)
    ports, out_ports = _ports(comes), _ports(goes)
    if host is None or out_host is None or ports is None or out_ports is None:
        return None
    size, out_size = ports.last - ports.first + 1, out_ports.last - out_ports.first + 1
    if size != out_size:
        message = f"expected as many ports in `out` as in `in`, found {out_size} and {size}"
        pair.findings.error(Code.MAPPED_RANGES_DIFFER, Place(goes.pointer), message, "the first leads to the first")
        return None
    return MappingRule(pair.pointer, host, ports, out_host, out_ports.first)


def _ports(block: Block) -> PortRange | None:
    first = block.integer("port")
    if first is None:
        return None  # `shape` has said so
    last = block.integer("port_end")
    if last is not None and last < first:
        message = f"expected `port_end` of at least {first}, found {last}"
        block.findings.error(Code.PORT_END_BELOW_PORT, block.value_at("port_end"), message)
        return None
    return PortRange(first, first if last is None else last)


def own_address(block: Block) -> IPv4Address | IPv6Address | None:
    """Return the address of this host that ``host`` names, 0.0.0.0 if it is absent; None after a fault."""
    text = ANY if block.members.get("host") is None else block.text("host")
    if text is None:
        return None
    if (found := _own(text)) is None:
        message = f"expected an address of this host, found {json_text(text)}"
        help_ = "such as 127.0.0.1, for this host alone, or 0.0.0.0, for everybody"
        block.findings.error(Code.BAD_DOOR, block.value_at("host"), message, help_)
        return None
    return found


@lru_cache(maxsize=1024)
def _own(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return None if "%" in text or found.is_multicast else found


def single_port(listen: Block) -> int | None:
    """Return the port of a proxy; a range is reported."""
    if listen.usable("port_end"):
        message = "expected one port for a proxy, found a range"
        listen.findings.error(Code.BAD_DOOR, listen.key_at("port_end"), message, "leave `port_end` out")
    return listen.integer("port")


def _host(block: Block) -> str | None:
    text = block.text("host")
    if text is None:
        return None
    found = _reachable(text)
    if found is None:
        message = f"expected an address or a name to connect to, found {json_text(text)}"
        help_ = "such as 192.0.2.1, 2001:db8::1 or db.example"
        block.findings.error(Code.BAD_DOOR, block.value_at("host"), message, help_)
    return found


@lru_cache(maxsize=1024)
def _reachable(text: str) -> str | None:
    """Return an address in its canonical form, or a name as it is; None if it is neither."""
    try:
        address = ip_address(text)
    except ValueError:
        # What looks like an address and is none is not looked up: 010.0.0.1, 1.2.3.
        name = HOST_NAME.fullmatch(text) and not text.rstrip(".").rpartition(".")[2].isdecimal()
        return text if name else None
    usable = not (address.is_unspecified or address.is_multicast or "%" in text)
    return str(address) if usable else None
