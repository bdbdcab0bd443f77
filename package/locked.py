"""Which packages of requirements.lock one program needs, and their hashed lines.

The lock also holds the tools of the checkout. What is needed is followed from pyproject.toml through the metadata of
what is installed here, which came from the same lock.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(pyproject: Path, extras: Iterable[str]) -> set[str]:
    """The normalized names of all that tng with ``extras`` needs, on any Python and platform that a marker names."""
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    for extra in extras:
        wanted += [Requirement(text) for text in project["optional-dependencies"][extra]]
    found: set[str] = set()
    while wanted:
        name = canonicalize_name(wanted.pop().name)
        if name not in found:
            found.add(name)
            wanted += [each for each in _requirements(name) if "extra" not in str(each.marker or "")]
    return found


def lines(lock: Path, names: Iterable[str]) -> str:
    """The part of ``lock`` that pins ``names``; those that it does not have are for other platforms."""
    wanted = set(names)
    parts = re.split(r"^(?=[A-Za-z0-9])", lock.read_text("utf-8"), flags=re.MULTILINE)
    return "".join(part for part in parts if canonicalize_name(re.split("[=<> ]", part)[0]) in wanted)


def _requirements(name: str) -> list[Requirement]:
    try:
        return [Requirement(text) for text in requires(name) or ()]
    except PackageNotFoundError:  # for another platform
        return []
