"""Attestation services among what is captured: the runtime's own calls pass by their mark, those of others do not."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from tng_compiler.algebra.plane import at
from tng_compiler.algebra.space import Family
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import Config, Entry, Service
from tng_compiler.plan.items import Item, items_of
from tng_schema import contract


def captured_services(config: Config) -> dict[str, list[Diagnostic]]:
    """Return a warning for each service that an entry captures, as far as the document can tell, by entry."""
    places = {service.as_addr: place for entry in config.entries[::-1] for service, place in _services(entry)}
    asked: dict[Family | None, list[tuple[str, int, int]]] = {}
    for url in places:
        family, address, port = _destination(url)
        if not contract.is_loopback(urlsplit(url).hostname or ""):
            asked.setdefault(family, []).append((url, address, port))
    entries = [entry for entry in config.entries if entry.role == "ingress"]
    found: dict[str, list[Diagnostic]] = {}
    for family, services in asked.items():
        # Where a name leads nobody knows; it is captured by what is captured at every address of both families.
        addresses = sorted(address for _, address, _ in services)
        items = [
            item
            for position, entry in enumerate(entries)
            if family != "ipv6" or entry.netfilter.ipv6 != "bypass"
            for item in (items_of(entry.netfilter, family, position) if family else _at_every_address(entry, position))
            if bisect_left(addresses, item.first) < bisect_right(addresses, item.last(family or "ipv4"))
        ]
        rectangles = (item.rectangle(family or "ipv4", name) for name, item in enumerate(items))
        cells = at(family or "ipv4", rectangles, [(address, port) for _, address, port in services])
        for (url, _, _), cell in zip(services, cells, strict=True):
            first: dict[int, Item] = {}
            for item in (items[name] for name in sorted(cell)):
                first.setdefault(item.entry, item)
            for position, item in first.items():
                entry = entries[position]
                pointer = item.pointer if entry.netfilter.capture_dst else entry.netfilter.pointer
                found.setdefault(entry.pointer, []).append(_captured(url, places[url], pointer))
    return found


def _at_every_address(entry: Entry, position: int) -> Iterator[Item]:
    items = entry.netfilter.capture_dst
    if not items or any(item.network is None and item.ipset is None for item in items):
        in_both = {item.pointer for item in items_of(entry.netfilter, "ipv6")}
        yield from (item for item in items_of(entry.netfilter, "ipv4", position) if item.pointer in in_both)


def _destination(url: str) -> tuple[Family | None, int, int]:
    """Return the family, address and port of a URL; None and 0 if it has a name."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        address = ip_address(parts.hostname or "")
    except ValueError:
        return None, 0, port
    return ("ipv4" if address.version == 4 else "ipv6"), int(address), port


def _services(entry: Entry) -> Iterator[tuple[Service, str]]:
    if entry.verify and entry.verify.service:
        yield entry.verify.service, f"{entry.pointer}/verify/as_addr"
    if entry.attest and entry.attest.service:
        yield entry.attest.service, f"{entry.pointer}/attest/as_addr"


def _captured(url: str, place: str, item: str) -> Diagnostic:
    message = f"expected the attestation service to be left alone, found {url} captured"
    advice = "the runtime's own calls pass by their mark, those of the attestation agent and others do not"
    notes = (Note(Place(place), "the service"),)
    return Diagnostic(Code.CAPTURES_SERVICE, Severity.WARNING, message, Place(item), notes, advice)
