"""``forwarded_interfaces``: by which interfaces forwarded packets come in that are captured."""

from __future__ import annotations

import re

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Place
from tng_compiler.diagnostics.quoting import json_text
from tng_compiler.model.block import Block

_NAME = re.compile(r"(?=.{1,15}\Z)[A-Za-z0-9_.@-]+\*?", re.ASCII)
"""IFNAMSIZ of linux/if.h without its terminator, and what nft and iptables take without an escape."""


def interfaces(block: Block) -> tuple[str, ...]:
    """Return the names, each once and in their order, of the list or of the one string in its place."""
    found: dict[str, None] = {}
    for pointer, name in block.texts("forwarded_interfaces"):
        if block.findings.full:
            break
        if not _NAME.fullmatch(name):
            message = f"expected the name of an interface, or its beginning and a star, found {json_text(name)}"
            help_ = "at most 15 letters, digits and _.@-, as `ip link` shows it, such as docker0 or br-*"
            block.findings.error(Code.BAD_INTERFACE, Place(pointer), message, help_)
        elif name == "lo":
            message = "expected an interface that others are behind, found `lo`"
            block.findings.error(Code.BAD_INTERFACE, Place(pointer), message, "nothing is forwarded from it")
        else:
            found[name] = None
    return tuple(found)
