"""The first stage as a whole: bytes to a ``Document``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic
from tng_compiler.source.fast import Reading
from tng_compiler.source.fast import read as read_json
from tng_compiler.source.lines import Lines
from tng_compiler.source.text import decode

_MAX_REPAIRS = 20
_REPAIRABLE = 4 * 1024 * 1024
"""Characters that all repairs together may walk over, a few seconds: each walks over the whole text."""


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration that was read.

    ``text`` is what the author wrote. ``clean`` is the text that ``value`` was read from: the same, or repaired at the
    same length where the author's meaning was plain (a trailing comma), so that one run can go on to later faults.
    ``value`` is None and ``readable`` False when no meaning was plain. Faults are never forgiven: each is an error.
    """

    name: str
    text: str
    clean: str
    digest: str
    value: object
    readable: bool
    faults: tuple[Diagnostic, ...]


def read(name: str, data: bytes) -> Document:
    """Read a document; any bytes have an answer, in time and memory proportional to their number."""
    digest = hashlib.sha256(data).hexdigest()
    decoded = decode(data)
    if decoded.text is None:
        return Document(name, decoded.shown, decoded.shown, digest, None, False, decoded.faults)
    text = clean = decoded.text
    faults = list(decoded.faults)
    while True:
        reading = read_json(clean)
        if isinstance(reading, Reading):
            break
        # Imported here: a document without a fault never pays for lark.
        from tng_compiler.source import beyond, syntax

        if reading.position is None:
            deep = beyond.faults(clean, Lines(text), None)
            return Document(name, text, clean, digest, None, False, (*faults, *deep))
        fault = syntax.explain(clean, reading.position, Lines(text))
        faults.append(fault.diagnostic)
        if fault.repaired is None or len(faults) >= _MAX_REPAIRS or len(clean) * len(faults) > _REPAIRABLE:
            return Document(name, text, clean, digest, None, False, tuple(faults))
        clean = fault.repaired
    if not reading.suspicious:
        return Document(name, text, clean, digest, reading.value, True, tuple(faults))
    from tng_compiler.source import beyond

    more = beyond.faults(clean, Lines(text), reading)
    readable = all(fault.code is not Code.TOO_DEEP for fault in more)
    return Document(name, text, clean, digest, reading.value, readable, (*faults, *more))
