"""JSON pointers (RFC 6901): how stages name a place without knowing the text."""

from __future__ import annotations

from collections.abc import Iterable


def child(pointer: str, token: str | int) -> str:
    """Append a reference token (RFC 6901, section 3)."""
    if isinstance(token, int):
        return f"{pointer}/{token}"
    return f"{pointer}/{token.replace('~', '~0').replace('/', '~1')}"


def pointer_of(path: Iterable[str | int]) -> str:
    """Return the pointer of a path of member names and indexes."""
    pointer = ""
    for token in path:
        pointer = child(pointer, token)
    return pointer


def parent(pointer: str) -> str:
    """Return the pointer of the container; the document's own is its own parent."""
    return pointer.rpartition("/")[0]
