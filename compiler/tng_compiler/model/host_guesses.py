"""What somebody may have meant who wrote something else than an address: said as help, never acted upon."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, ip_address, summarize_address_range

_LONGEST = 300
_WITH_PORT = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]/\s]+):(?P<first>\d{1,5})(?:[-:](?P<last>\d{1,5}))?", re.ASCII
)
_RANGE = re.compile(r"([\d.]{7,15}) ?- ?([\d.]{7,15})", re.ASCII)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][\w.-]*|[\w-]+(\.[\w-]+)*\.[A-Za-z][\w-]*\.?", re.ASCII)
_EVERYTHING = frozenset({"*", "any", "all", "0/0"})
_MOST_NETWORKS = 4

NAMES = "names are not resolved in a filter: write the address; `out` of a `mapping` takes names"


def guess(text: str) -> str | None:
    """Return help for a ``host`` that is none, None without a guess."""
    if len(text) > _LONGEST:
        return None
    if text.lower() in _EVERYTHING:
        return "leave `host` out to mean every address, of IPv4 and of IPv6"
    if "," in text or (len(text.split()) > 1 and "-" not in text):
        return 'make one destination of each: [{"host": ...}, {"host": ...}]'
    if _URL.fullmatch(text):
        return "an address alone: no scheme and no path, and the port in `port`"
    if found := _WITH_PORT.fullmatch(text):
        return _with_port(found)
    if text.startswith("[") and text.endswith("]") and _address(text[1:-1]):
        return f"write {text[1:-1]}, without brackets"
    if found := _RANGE.fullmatch(text):
        return _range(found[1], found[2])
    return NAMES if _NAME.fullmatch(text) else None


def _with_port(found: re.Match[str]) -> str | None:
    host, first, last = found["host"].strip("[]"), int(found["first"]), found["last"]
    if not _address(host):
        return f"{NAMES}, and the port belongs into `port`"
    end = f', "port_end": {int(last)}' if last else ""
    return f'the port has a field of its own: "host": "{host}", "port": {first}{end}'


def _range(first: str, last: str) -> str | None:
    low, high = _address(first), _address(last)
    if not isinstance(low, IPv4Address) or not isinstance(high, IPv4Address) or low > high:
        return None
    networks = [str(each) for each in summarize_address_range(low, high)]
    if len(networks) > _MOST_NETWORKS:
        return "a range is a list of networks in CIDR notation, one destination each"
    return f"one destination a network: {', '.join(each.removesuffix('/32') for each in networks)}"


def _address(text: str) -> object:
    try:
        return ip_address(text)
    except ValueError:
        return None
