"""CBOR (RFC 8949), the little of it that evidence needs, read strictly.

The reader is pulled by whoever knows the grammar: it is asked for a tag, an array, a byte string, and refuses
anything else. It therefore never recurses, never builds a value that was not asked for, and slices only what is
there, so that a length prefix of 2^40 costs nothing. Section 4.2.1's core deterministic rules hold: shortest heads,
definite lengths only.
"""

from __future__ import annotations

from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused

_UINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = 0, 2, 3, 4, 5, 6
NULL = b"\xf6"
_NAMES = {
    _UINT: "an unsigned integer",
    _BYTES: "a byte string",
    _TEXT: "a text",
    _ARRAY: "an array",
    _MAP: "a map",
    _TAG: "a tag",
}


class Reader:
    """A cursor over one CBOR item. Every method raises ``Refused`` (RA-EVIDENCE-FORM) unless the next item is
    what is asked for.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def uint(self) -> int:
        """An unsigned integer."""
        return self._head(_UINT)

    def tag(self) -> int:
        """The number of a tag; the tagged item is read next."""
        return self._head(_TAG)

    def array(self) -> int:
        """The number of items of a definite-length array; they are read next."""
        return self._head(_ARRAY)

    def map(self) -> int:
        """The number of pairs of a definite-length map; keys and values are read next, alternating."""
        return self._head(_MAP)

    def byte_string(self) -> bytes:
        """A definite-length byte string."""
        return self._take(self._head(_BYTES))

    def text(self) -> str:
        """A definite-length text in UTF-8."""
        try:
            return self._take(self._head(_TEXT)).decode("utf-8")
        except UnicodeDecodeError:
            raise self._refused("a text is not UTF-8") from None

    def byte_string_or_null(self) -> bytes | None:
        """A definite-length byte string, or null."""
        if self._data[self._at : self._at + 1] == NULL:
            self._at += 1
            return None
        return self.byte_string()

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            raise self._refused(f"{len(self._data) - self._at} bytes follow the item")

    def _head(self, major: int) -> int:
        """The argument of a head (RFC 8949, section 3): in the first byte's low five bits, or in the 1, 2, 4
        or 8 bytes after it.
        """
        first = self._take(1)[0]
        if first >> 5 != major:
            raise self._refused(f"expected {_NAMES[major]} at byte {self._at - 1}")
        info = first & 0x1F
        if info < 24:
            return info
        if info > 27:
            raise self._refused(f"an indefinite or reserved length at byte {self._at - 1}")
        width = 1 << (info - 24)
        argument = int.from_bytes(self._take(width), "big")
        if len(_head(major, argument)) != 1 + width:
            raise self._refused(f"a head that is not the shortest before byte {self._at}")
        return argument

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise self._refused(f"{count} bytes announced at byte {self._at}, {len(self._data) - self._at} are there")
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def _refused(self, detail: str) -> Refused:
        return Refused(Code.EVIDENCE_FORM, detail)


def uint(value: int) -> bytes:
    """An unsigned integer of at most 64 bits."""
    return _head(_UINT, value)


def byte_string(value: bytes) -> bytes:
    """A byte string."""
    return _head(_BYTES, len(value)) + value


def text(value: str) -> bytes:
    """A text, in UTF-8."""
    encoded = value.encode("utf-8")
    return _head(_TEXT, len(encoded)) + encoded


def array(*items: bytes) -> bytes:
    """An array of items that are encoded already."""
    return _head(_ARRAY, len(items)) + b"".join(items)


def text_map(items: dict[str, bytes]) -> bytes:
    """A map from texts to values that are encoded already, in the order given."""
    return _head(_MAP, len(items)) + b"".join(text(key) + value for key, value in items.items())


def tagged(number: int, item: bytes) -> bytes:
    """An item, encoded already, under a tag."""
    return _head(_TAG, number) + item


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    info, width = next((info, 1 << (info - 24)) for info in (24, 25, 26, 27) if argument < 1 << (8 << (info - 24)))
    return bytes([major << 5 | info]) + argument.to_bytes(width, "big")
