"""The third stage as a whole: a ``Shape`` to a ``Config``."""

from __future__ import annotations

from dataclasses import dataclass

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic
from tng_compiler.model.block import Block, Findings
from tng_compiler.model.control import control
from tng_compiler.model.netfilter import netfilter
from tng_compiler.model.trust import attest, check_trust, verify
from tng_compiler.model.types import Config, Control, Entry, ProxyProtocol, Role, Verify
from tng_compiler.shape.check import Shape

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
    entries: list[Entry] = []
    interface: Control | None = None
    if isinstance(shape.value, dict):
        document = Block(shape.value, "", findings)
        entries += _entries(document, "add_ingress", "ingress")
        entries += _entries(document, "add_egress", "egress")
        interface = control(document)
    partial = Config(tuple(entries), interface)
    clean = not shape.faults and not findings.errors
    return Model(partial if clean else None, partial, tuple(findings.faults))


def _entries(document: Block, name: str, role: Role) -> list[Entry]:
    value = document.members.get(name)
    if not isinstance(value, list) or not document.usable(name):
        return []
    built = (_entry(document, item, f"/{name}/{index}", role, index) for index, item in enumerate(value))
    return [entry for entry in built if entry]


def _entry(document: Block, item: object, pointer: str, role: Role, index: int) -> Entry | None:
    if not isinstance(item, dict):
        return None
    entry = Block(item, pointer, document.findings)
    check_trust(entry)
    attesting, verifying, capture = entry.block("attest"), entry.block("verify"), entry.block("netfilter")
    proof = attest(attesting) if attesting else None
    demand = verify(verifying) if verifying else None
    if capture is None:
        return None
    before = document.findings.errors
    captured = netfilter(capture, role)
    if document.findings.errors > before or _faulty(capture):
        return None
    told: ProxyProtocol | None = "v2" if entry.text("proxy_protocol") else None
    if told and demand and not _fits(entry, demand):
        return None
    return Entry(role, index, pointer, captured, proof, demand, told)


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
