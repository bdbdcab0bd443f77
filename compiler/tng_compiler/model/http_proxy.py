"""``http_proxy``: a port for programs that name destinations over HTTP, and which of them go through the tunnel."""

from __future__ import annotations

import re

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.quoting import json_text
from tng_compiler.model.block import Block
from tng_compiler.model.destination import ports_of
from tng_compiler.model.host import HostError, parse_host
from tng_compiler.model.mapping import own_address, single_port
from tng_compiler.model.types import DstFilter, HttpProxy, Network, PortRange, Role
from tng_schema.pattern import MOST_STATES_TOGETHER, PatternError, pattern

EVERY_PORT = PortRange(1, 65535)
_KINDS = ("domain", "domain_regex", "ip", "ip_cidr")
# A name, or a part of one, with one `*` at an end.
_DOMAIN = re.compile(r"(?=.{1,254}\Z)(?:\*?[a-z0-9_.-]+|[a-z0-9_.-]+\*)", re.ASCII)
_OTHER_THAN_AN_ADDRESS = re.compile(r"[^0-9.*]")


def http_proxy(block: Block, _role: Role) -> HttpProxy | None:
    """Build the proxy; None after a fault, which is reported."""
    listen = block.block("proxy_listen")
    if listen is None:
        return None
    host, port = own_address(listen), single_port(listen)
    filters = _filters(block)
    if host is None or port is None:
        return None
    return HttpProxy(block.pointer, host, port, filters, "direct" if block.text("unmatched") == "direct" else "refuse")


def _filters(block: Block) -> tuple[DstFilter, ...]:
    """All of them, or what takes everything; one with a fault is left out."""
    value = block.members.get("dst_filters") if block.usable("dst_filters") else None
    items = value if isinstance(value, list) else [] if value is None else [value]
    if not items:
        return (DstFilter(block.pointer, None, None, None, EVERY_PORT),)
    pointer = f"{block.pointer}/dst_filters"
    found = []
    states = 0
    for index, item in enumerate(items):
        if states > MOST_STATES_TOGETHER or block.findings.full:
            break
        where = f"{pointer}/{index}" if isinstance(value, list) else pointer
        if isinstance(item, dict) and (built := _filter(Block(item, where, block.findings))):
            found.append(built)
            states += pattern(built.regex).size if built.regex is not None else 0
    if states > MOST_STATES_TOGETHER:
        message = f"expected patterns of at most {MOST_STATES_TOGETHER} states in all, found more"
        help_ = "each name is compared with all of them: use `domain`, or fewer and shorter ones"
        block.findings.error(Code.BAD_FILTER, block.value_at("dst_filters"), message, help_)
    return tuple(found)


def _filter(block: Block) -> DstFilter | None:
    before = block.findings.errors
    said = [name for name in _KINDS if block.members.get(name) is not None]
    if len(said) > 1:
        message = f"expected one of `{'`, `'.join(_KINDS)}` in a filter, found `{'` and `'.join(said)}`"
        block.findings.error(Code.BAD_FILTER, block.key_at(said[1]), message, "make two filters of them: any takes")
        return None
    domain, regex, network = _domain(block), _regex(block), _network(block)
    port, last = block.members.get("port"), block.members.get("port_end")
    ports = EVERY_PORT if port is None and last is None else ports_of(block, port, last)
    if ports is None or block.findings.errors > before:
        return None
    return DstFilter(block.pointer, domain, regex, network, ports)


def _domain(block: Block) -> str | None:
    """A name in lower case; None for every destination, and after a fault."""
    text = block.text("domain")
    if text is None or text == "*":
        return None
    name = text.lower().removesuffix(".")
    if not _DOMAIN.fullmatch(name):
        message = f"expected a name, with one `*` in front of it or behind it, found {json_text(text)}"
        help_ = "such as *.example.com or db.*" if name.isascii() else "write it in its ASCII form: xn--..."
        block.findings.error(Code.BAD_FILTER, block.value_at("domain"), message, help_)
        return None
    if not _OTHER_THAN_AN_ADDRESS.search(name):
        message = f"expected the name of a host, found the address {json_text(text)}"
        block.findings.error(Code.BAD_FILTER, block.value_at("domain"), message, "write it as `ip` or `ip_cidr`")
        return None
    return name


def _regex(block: Block) -> str | None:
    text = block.text("domain_regex")
    if text is None:
        return None
    try:
        pattern(text)
    except PatternError as error:
        message = f"expected a regular expression, found {json_text(text)}: {error.problem}"
        help_ = f"at character {error.position + 1}; `tng explain-code {Code.BAD_FILTER.value}` says what is read"
        block.findings.error(Code.BAD_FILTER, block.value_at("domain_regex"), message, help_)
        return None
    return text


def _network(block: Block) -> Network | None:
    for name in ("ip", "ip_cidr"):
        text = block.text(name)
        if text is None:
            continue
        try:
            found = parse_host(text)
        except HostError as error:
            block.findings.error(error.code, block.value_at(name), error.message + json_text(text), error.help)
            return None
        if name == "ip" and "/" in text:
            message = f"expected one address, found the network {json_text(text)}"
            block.findings.error(Code.BAD_FILTER, block.value_at(name), message, "write it as `ip_cidr`")
            return None
        return found
    return None
