"""What an entry says of forwarded packets, against the rest of it: such a packet has no socket here.

What is said of cgroups cannot be kept for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import Netfilter


def forwarded(netfilter: Netfilter) -> Iterator[Diagnostic]:
    """Yield what contradicts ``forwarded``."""
    place = Place(f"{netfilter.pointer}/forwarded")
    if netfilter.forwarded != "capture":
        if netfilter.forwarded_interfaces:
            message = f"expected `forwarded: capture` with interfaces to capture from, found `{netfilter.forwarded}`"
            where = Place(f"{netfilter.pointer}/forwarded_interfaces")
            advice = 'write "forwarded": "capture", or leave them out'
            yield Diagnostic(Code.INTERFACES_UNUSED, Severity.ERROR, message, where, (), advice)
        return
    for path in netfilter.capture_cgroup[:1]:
        message = (
            "expected capture_cgroup or `forwarded: capture`, found both: what is forwarded has no socket here, and "
            "its cgroup cannot be known"
        )
        notes = (Note(Place(path.pointer), "the cgroup"),)
        advice = "use two entries, or capture inside of the container or guest"
        yield Diagnostic(Code.FORWARDED_BY_CGROUP, Severity.ERROR, message, place, notes, advice)
    if netfilter.nocapture_cgroup and not netfilter.capture_cgroup:
        message = "expected an exemption of all that is captured, found one by cgroup: what is forwarded is not exempt"
        notes = (Note(Place(netfilter.nocapture_cgroup[0].pointer), "exempts sockets of this host"),)
        advice = "leave the interface of what is to be exempt out of `forwarded_interfaces`"
        yield Diagnostic(Code.FORWARDED_NOT_EXEMPT, Severity.WARNING, message, place, notes, advice)
