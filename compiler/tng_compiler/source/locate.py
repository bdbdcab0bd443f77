"""Diagnostics to places: the pointers of all of them in one walk, sorted as they stand in the text."""

from __future__ import annotations

from collections.abc import Iterable

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place, Span
from tng_compiler.diagnostics.located import Excerpt, Located
from tng_compiler.diagnostics.pointer import parent
from tng_compiler.source.document import Document
from tng_compiler.source.lines import Lines
from tng_compiler.source.scan import walk


def locate(document: Document, diagnostics: Iterable[Diagnostic]) -> tuple[Located, ...]:
    """Give every diagnostic its span, sorted by place; of two at one place about one value the earlier stage's stays.

    A pointer that the text does not have (a field that is missing) is shown at the nearest container that it has.
    """
    given = tuple(diagnostics)
    if not given:
        return ()
    places = [place for item in given for place in (item.place, *(note.place for note in item.notes))]
    wanted = {place.pointer for place in places if place.span is None}
    finder = _Finder(document, wanted)
    found = [
        Located(document.name, item, finder.excerpt(item.place), tuple(finder.excerpt(n.place) for n in item.notes))
        for item in given
    ]
    taken = {item.at.span.start for item in found if item.diagnostic.place.span}
    kept = [item for item in found if not (_is_echo(item) and item.at.span.start in taken)]
    return tuple(sorted(kept, key=_order))


def _order(item: Located) -> tuple[bool, int, str, str]:
    """By place; that there are more faults is said at the end."""
    diagnostic = item.diagnostic
    more = diagnostic.code is Code.TOO_MANY_FAULTS
    return more, item.at.span.start, diagnostic.code.value, diagnostic.message


def _is_echo(item: Located) -> bool:
    """A fault of the text makes later stages stumble over the same value; they have nothing to add."""
    place = item.diagnostic.place
    return place.span is None and place.pointer != ""


class _Finder:
    def __init__(self, document: Document, wanted: set[str]) -> None:
        self._text = document.text
        self._lines = Lines(document.text)
        self._values: dict[str, tuple[int, int]] = {"": (0, min(1, len(document.text)))}
        self._keys: dict[str, tuple[int, int]] = {}
        if wanted - {""} or (wanted and document.readable):
            found = walk(document.clean, wanted)
            self._values.update(found.values)
            self._keys = found.keys

    def excerpt(self, place: Place) -> Excerpt:
        span = place.span or self._find(place)
        return Excerpt(span, self._lines.text_at(self._text, span.start))

    def _find(self, place: Place) -> Span:
        if place.target == "key" and place.pointer in self._keys:
            return self._lines.span(*self._keys[place.pointer])
        pointer = place.pointer
        while pointer not in self._values:
            pointer = parent(pointer)
        return self._lines.span(*self._values[pointer])
