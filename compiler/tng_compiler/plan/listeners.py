"""Listen ports that the document gives, against each other, against what is captured and against the kernel's own."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import CaptureDst, Config, Entry, PortRange, Role
from tng_compiler.plan.allocate import EPHEMERAL


def listeners(config: Config, ports: tuple[int, ...]) -> Iterator[Diagnostic]:
    """Yield what is wrong with the listen ports, ``ports`` being those of the entries in order; errors first."""
    owners: dict[int, Entry] = {}
    for entry, port in zip(config.entries, ports, strict=True):
        if other := owners.get(port):
            message = f"expected a listen port of its own, found {port} in two entries"
            notes = (Note(_place(other), "the other one"),)
            yield Diagnostic(Code.LISTEN_PORT_TWICE, Severity.ERROR, message, _place(entry), notes, "omit one of them")
        owners.setdefault(port, entry)
    if config.control is not None and (other := owners.get(config.control.port)):
        message = f"expected a port of its own for the control interface, found {config.control.port} in an entry too"
        notes = (Note(_place(other), "listens on it"),)
        place = Place(f"{config.control.pointer}/port")
        yield Diagnostic(Code.LISTEN_PORT_TWICE, Severity.ERROR, message, place, notes, "choose another port")
    yield from _captured_of("egress", config, owners)
    for entry, port in zip(config.entries, ports, strict=True):
        if entry.netfilter.listen_port and EPHEMERAL[0] <= port <= EPHEMERAL[1]:
            message = f"expected a listen port outside {EPHEMERAL[0]} to {EPHEMERAL[1]}, found {port}"
            advice = "the kernel gives these to outgoing connections, and one may have it when the runtime starts"
            yield Diagnostic(Code.LISTEN_PORT_EPHEMERAL, Severity.WARNING, message, _place(entry), (), advice)
    yield from _captured_of("ingress", config, owners)


def _captured_of(role: Role, config: Config, owners: dict[int, Entry]) -> Iterator[Diagnostic]:
    ordered = sorted(owners)
    for entry in config.entries:
        for item in entry.netfilter.capture_dst or () if entry.role == role else ():
            if item.ports and item.ports.first <= ordered[-1] and ordered[0] <= item.ports.last:
                yield from _captured(entry, item, item.ports, owners, ordered)


def _captured(
    entry: Entry, item: CaptureDst, ports: PortRange, owners: dict[int, Entry], ordered: list[int]
) -> Iterator[Diagnostic]:
    """A range that names a listen port: on an egress its connections could not be told from direct ones."""
    for port in ordered[bisect_left(ordered, ports.first) : bisect_right(ordered, ports.last)]:
        owner = owners[port]
        notes = (Note(_place(owner), f"listens on {port}"),)
        place = Place(item.pointer)
        if entry.role == "egress":
            message = f"expected captured ports without our listen ports, found {port} among them"
            advice = "a connection to it could not be told from one that went past the redirect; choose another port"
            yield Diagnostic(Code.LISTEN_PORT_CAPTURED, Severity.ERROR, message, place, notes, advice)
        elif owner.role == "egress":
            message = f"expected destinations that a peer serves, found port {port}, where an egress listens"
            advice = "an egress is reached at the port that it captures; its listen port refuses what comes directly"
            yield Diagnostic(Code.PEER_LISTEN_PORT, Severity.WARNING, message, place, notes, advice)
        else:
            message = f"expected captured ports without our listen ports, found {port} among them"
            advice = "it works, but in logs and captures the two cannot be told apart; choose another port"
            yield Diagnostic(Code.LISTEN_PORT_CAPTURED, Severity.WARNING, message, place, notes, advice)


def _place(entry: Entry) -> Place:
    pointer = entry.netfilter.pointer
    return Place(f"{pointer}/listen_port" if entry.netfilter.listen_port else pointer)
