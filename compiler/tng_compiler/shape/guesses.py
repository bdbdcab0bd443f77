"""What somebody may have meant who wrote a value of another type: said as help, never acted upon."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

Path = tuple[str | int, ...]

_RANGE = re.compile(r"(\d{1,5})\s*(?:-|:|\.\.|,)\s*(\d{1,5})", re.ASCII)
_LIST = re.compile(r"\d{1,5}(?:[,;\s]+\d{1,5}){1,9}", re.ASCII)
_HOST_PORT = re.compile(r"([\d.]{7,15}|\[[0-9A-Fa-f:.]{2,40}\]):(\d{1,5})", re.ASCII)
_SERVICES = {
    "ssh": 22, "domain": 53, "dns": 53, "http": 80, "https": 443, "mysql": 3306, "postgresql": 5432, "postgres": 5432,
    "redis": 6379,
}  # fmt: skip
_MOST = 4


def guess(path: Path, instance: object) -> str | None:
    """Return help for the value at ``path``, which has the wrong type; None without a guess."""
    match path[-1] if path else "":
        case "port" if "control_interface" not in path:
            return _port(path, instance)
        case "host" if isinstance(instance, list):
            hosts = [f'{{"host": "{host}"}}' for host in instance[:_MOST] if isinstance(host, str) and len(host) < 50]
            return f"one destination a host: [{_some(hosts, instance)}]" if hosts else None
        case "capture_dst":
            return _destination(instance)
        case int() if len(path) > 1 and path[-2] == "capture_dst":
            return _destination(instance)
    return None


def _port(path: Path, instance: object) -> str | None:
    if isinstance(instance, str):
        if found := _RANGE.fullmatch(instance.strip()):
            first, last = int(found[1]), int(found[2])
            if "," not in instance and first < last:
                return f'write "port": {first}, "port_end": {last}'
        if _LIST.fullmatch(instance.strip()):
            return _ports(path, [int(word) for word in re.findall(r"\d+", instance)])
        if number := _SERVICES.get(instance.lower()):
            return f"names of services are not looked up: write {number}"
    elif isinstance(instance, list):
        return _ports(path, [item for item in instance if type(item) is int])
    return None


def _ports(path: Path, ports: Sequence[int]) -> str | None:
    if not ports:
        return None
    if len(ports) > 1 and all(after == before + 1 for before, after in pairwise(ports)):
        return f'write "port": {ports[0]}, "port_end": {ports[-1]}'
    if "capture_dst" not in path:
        return "one port, or a range with `port_end`"
    shown = [f'{{"port": {port}}}' for port in ports[:_MOST]]
    return f"one destination a port: [{_some(shown, ports)}]"


def _some(shown: Sequence[str], of: Sequence[object]) -> str:
    return ", ".join(shown) + (", ..." if len(of) > len(shown) else "")


def _destination(instance: object) -> str | None:
    if type(instance) is int:
        return f'write {{"port": {instance}}}'
    if isinstance(instance, str) and (found := _HOST_PORT.fullmatch(instance)):
        return f'write {{"host": "{found[1].strip("[]")}", "port": {int(found[2])}}}'
    if isinstance(instance, str) and 0 < len(instance) < 50 and instance.isprintable() and '"' not in instance:
        return f'write {{"port": {instance}}}' if instance.isdecimal() else f'write {{"host": "{instance}"}}'
    return None
