"""The third stage as a whole: a ``Shape`` to a ``Config``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place
from tng_compiler.model.block import Block, Findings
from tng_compiler.model.control import control
from tng_compiler.model.http_proxy import http_proxy
from tng_compiler.model.mapping import mapping
from tng_compiler.model.netfilter import netfilter
from tng_compiler.model.socks5 import socks5
from tng_compiler.model.trust import attest, check_trust, verify
from tng_compiler.model.types import Config, Control, Door, Entry, Mode, Netfilter, ProxyProtocol, Role, Verify
from tng_compiler.shape.check import Shape

_BUILDERS: dict[str, Callable[[Block, Role], Mode | None]] = {
    "netfilter": netfilter,
    "mapping": mapping,
    "http_proxy": http_proxy,
    "socks5": socks5,
}
_TLV_HEAD = 3
_MAX_POLICIES = 3800
"""NGX_PROXY_PROTOCOL_MAX_HEADER of nginx 1.23.2 is 4,096; addresses and the digest of the key take up to 90."""


@dataclass(frozen=True, slots=True)
class Model:
    """``config`` is None unless ``shape`` and this stage found no error.

    ``partial`` has the entries whose capture is without a fault, for a later stage that looks for further faults and
    makes no output of it: an entry that lost a condition would be accused of what its author did not write.
    """

    config: Config | None
    partial: Config
    faults: tuple[Diagnostic, ...]


def build(shape: Shape) -> Model:
    """Build what the user said; every fault of meaning is reported in one run."""
    findings = Findings(shape)
    entries: list[Entry | Door] = []
    interface: Control | None = None
    if isinstance(shape.value, dict):
        document = Block(shape.value, "", findings)
        entries += _entries(document, "add_ingress", "ingress")
        entries += _entries(document, "add_egress", "egress")
        interface = control(document)
    captures = tuple(entry for entry in entries if isinstance(entry, Entry))
    doors = tuple(entry for entry in entries if isinstance(entry, Door))
    partial = Config(captures, interface, doors)
    clean = not shape.faults and not findings.errors
    return Model(partial if clean else None, partial, tuple(findings.faults))


def _entries(document: Block, name: str, role: Role) -> list[Entry | Door]:
    value = document.members.get(name)
    if not isinstance(value, list) or not document.usable(name):
        return []
    built = (_entry(document, item, f"/{name}/{index}", role, index) for index, item in enumerate(value))
    return [entry for entry in built if entry]


def _entry(document: Block, item: object, pointer: str, role: Role, index: int) -> Entry | Door | None:
    if not isinstance(item, dict):
        return None
    entry = Block(item, pointer, document.findings)
    check_trust(entry)
    _check_tunnel(entry)
    attesting, verifying, chosen = entry.block("attest"), entry.block("verify"), _mode(entry, role)
    proof = attest(attesting) if attesting else None
    demand = verify(verifying) if verifying else None
    if chosen is None:
        return None
    before = document.findings.errors
    mode = _BUILDERS[chosen.pointer.rpartition("/")[2]](chosen, role)
    if mode is None or document.findings.errors > before or _faulty(chosen):
        return None
    told: ProxyProtocol | None = "v2" if entry.text("proxy_protocol") else None
    if told and demand and not _fits(entry, demand):
        return None
    if not isinstance(mode, Netfilter):
        return Door(role, index, pointer, mode, proof, demand, told)
    return Entry(role, index, pointer, mode, proof, demand, told)


def _check_tunnel(entry: Block) -> None:
    options = entry.block("rats_tls")
    if options is not None and options.flag("multiplex"):
        message = (
            "expected what this version supports, found `multiplex` (several streams a TLS connection), known, but "
        )
        message += "not supported yet"
        help_ = "remove it: one stream a connection is the default on both sides"
        entry.findings.error(Code.NOT_SUPPORTED_YET, options.value_at("multiplex"), message, help_)


def _mode(entry: Block, role: Role) -> Block | None:
    """Return the block of the one mode, and report an entry with none or with several."""
    there = [name for name in _BUILDERS if name in entry.members]
    if len(there) > 1:
        message = f"expected one mode an entry, found `{'` and `'.join(there)}`"
        entry.findings.error(Code.SEVERAL_MODES, entry.key_at(there[1]), message, "make two entries of them")
    elif not there and not any(entry.said(name) for name in _BUILDERS):
        modes = "`netfilter`, `mapping`, `http_proxy` or `socks5`" if role == "ingress" else "`netfilter` or `mapping`"
        message = f"expected {modes} in the entry, found no mode at all"
        help_ = 'say what to capture: "netfilter": {"capture_dst": {"port": 8080}}'
        entry.findings.error(Code.NO_MODE, Place(entry.pointer), message, help_)
    return entry.block(there[0]) if len(there) == 1 else None


def _fits(entry: Block, demand: Verify) -> bool:
    """Report policies that a server would not read to their end in a header of the PROXY protocol."""
    length = sum(len(policy.encode("utf-8", "surrogatepass")) + _TLV_HEAD for policy in demand.policy_ids)
    if length > _MAX_POLICIES:
        message = f"expected policies that fit into {_MAX_POLICIES} bytes of a PROXY header, found {length}"
        help_ = "the header names each of `policy_ids`, and nginx reads no more than 4,096 bytes: shorten them"
        entry.findings.error(Code.PROXY_HEADER_TOO_LONG, entry.value_at("proxy_protocol"), message, help_)
        return False
    return True


def _faulty(block: Block) -> bool:
    """Tell whether ``shape`` found a fault inside the block."""
    inside = f"{block.pointer}/"
    return any(fault.place.pointer.startswith(inside) for fault in block.findings.shape.faults)
