"""The table of syntax errors: the token that was not accepted, and what would have been, to a sentence and a repair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.quoting import quote
from tng_compiler.source.grammar import VALUES

Offsets = tuple[int, int]
_CLOSER = {"LBRACE": "}", "LSQB": "]"}
_OPENER = {"LBRACE": "{", "LSQB": "["}
_WORDS = {
    "True": "true",
    "TRUE": "true",
    "False": "false",
    "FALSE": "false",
    "None": "null",
    "NULL": "null",
    "nil": "null",
}


@dataclass(frozen=True, slots=True)
class Found:
    """lark's complaint: ``kind`` at ``span``, though only ``accepts`` could follow ``before``."""

    kind: str
    span: Offsets
    accepts: frozenset[str]
    before: tuple[str, int, int] | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``repair`` is an offset and the characters to put there instead of as many."""

    code: Code
    message: str
    span: Offsets
    help: str | None = None
    notes: tuple[tuple[Offsets, str], ...] = ()
    repair: tuple[int, str] | None = None


Judge = Callable[[str, Found, tuple[str, int] | None], Verdict | None]


def judge(text: str, found: Found, opener: tuple[str, int] | None) -> Verdict:
    """Return the first verdict of the table that fits; the last one fits everything."""
    for attempt in _TABLE:
        verdict = attempt(text, found, opener)
        if verdict:
            return verdict
    expected = _expected(found)
    return Verdict(Code.NOT_JSON, f"expected {expected}, found {_shown(text, found)}", found.span)


def _expected(found: Found) -> str:
    names = {
        "COMMA": "`,`",
        "COLON": "`:`",
        "RBRACE": "`}`",
        "RSQB": "`]`",
        "STRING": "a name in double quotes",
        "$END": "the end of the document",
    }
    if found.accepts >= VALUES:
        return "a value"
    return " or ".join(names[kind] for kind in sorted(found.accepts) if kind in names) or "JSON"


def _shown(text: str, found: Found) -> str:
    return "the end of the document" if found.kind == "$END" else quote(text[found.span[0] : found.span[1]], 40)


def _control(text: str, found: Found, _opener: tuple[str, int] | None) -> Verdict | None:
    start, end = found.span
    for offset in range(start, min(end, start + 4096)):
        char = text[offset]
        if char < " " and not (char in "\t\r\n" and found.kind != "BROKEN_STRING"):
            help_ = {"\t": "write \\t", "\r": "write \\r"}.get(char, f"write \\u{ord(char):04x} if it is meant")
            message = f"expected printable text, found the control character U+{ord(char):04X}"
            return Verdict(Code.CONTROL_CHARACTER, message, (offset, offset + 1), help_)
    return None


def _comment(text: str, found: Found, _opener: tuple[str, int] | None) -> Verdict | None:
    if found.kind != "COMMENT":
        return None
    start, end = found.span
    blank = "".join("\n" if char == "\n" else " " for char in text[start:end])
    message = "expected JSON, found a comment, which JSON does not have"
    return Verdict(Code.COMMENT, message, (start, end), "delete it", repair=(start, blank))


def _wrong_quotes(text: str, found: Found, _opener: tuple[str, int] | None) -> Verdict | None:
    if found.kind != "QUOTED":
        return None
    start, end = found.span
    inner = text[start + 1 : end - 1]
    closed = end - start >= 2 and text[end - 1] in "'`“”‘’"
    repair = (start, f'"{inner}"') if closed and '"' not in inner and "\\" not in inner else None
    message = f'expected double quotes ("), found {quote(text[start:end], 40)}'
    return Verdict(Code.WRONG_QUOTES, message, (start, end), f'write "{inner}"' if repair else None, repair=repair)


def _broken_string(text: str, found: Found, _opener: tuple[str, int] | None) -> Verdict | None:
    if found.kind != "BROKEN_STRING":
        return None
    start, end = found.span
    if end - start < 2 or text[end - 1] != '"':
        return Verdict(Code.UNCLOSED, "expected a closing double quote on this line, found none", (start, end))
    offset = start + 1
    while offset < end - 1:
        if text[offset] == "\\":
            width = 2
            if text[offset + 1] == "u" and not _is_hex(text[offset + 2 : offset + 6]):
                width = 6
            elif text[offset + 1] in '"\\/bfnrtu':
                offset += 2
                continue
            escape = text[offset : min(offset + width, end - 1)]
            message = f'expected one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX, found {quote(escape)}'
            return Verdict(
                Code.BAD_ESCAPE, message, (offset, offset + len(escape)), "a backslash itself is written \\\\"
            )
        offset += 1
    return None


def _is_hex(digits: str) -> bool:
    return len(digits) == 4 and all(digit in "0123456789abcdefABCDEF" for digit in digits)


def _trailing_comma(_text: str, found: Found, opener: tuple[str, int] | None) -> Verdict | None:
    if found.kind not in ("RBRACE", "RSQB") or not found.before or found.before[0] != "COMMA" or not opener:
        return None
    _, start, end = found.before
    closer = _CLOSER[opener[0]]
    message = f"expected another item or no comma before `{closer}`, found a trailing comma"
    return Verdict(Code.TRAILING_COMMA, message, (start, end), "delete the comma", repair=(start, " "))


def _unclosed(text: str, found: Found, opener: tuple[str, int] | None) -> Verdict | None:
    if opener is None:
        return None
    closer = _CLOSER[opener[0]]
    at = (opener[1], opener[1] + 1)
    if found.kind == "$END":
        message = f"expected `{closer}` to close this `{_OPENER[opener[0]]}`, found the end of the document"
        return Verdict(Code.UNCLOSED, message, at, f"add `{closer}`")
    if found.kind in ("RBRACE", "RSQB") and text[found.span[0]] != closer:
        message = f"expected `{closer}`, found `{text[found.span[0]]}`"
        return Verdict(Code.UNCLOSED, message, found.span, None, ((at, f"`{closer}` would close this"),))
    return None


def _extra(text: str, found: Found, opener: tuple[str, int] | None) -> Verdict | None:
    if opener is not None or not found.before:
        return None
    rest = "".join("\n" if char == "\n" else " " for char in text[found.span[0] :])
    message = f"expected the end of the document, found {_shown(text, found)}"
    return Verdict(Code.EXTRA_DATA, message, found.span, "a file holds one JSON object", repair=(found.span[0], rest))


def _missing_comma(text: str, found: Found, _opener: tuple[str, int] | None) -> Verdict | None:
    if "COMMA" not in found.accepts or found.kind not in (*VALUES, "QUOTED", "WORD") or not found.before:
        return None
    end = found.before[2]
    repair = (end, ",") if end < found.span[0] else None
    message = f"expected `,` before the next item, found {_shown(text, found)}"
    return Verdict(Code.MISSING_COMMA, message, (end - 1, end), "add a comma here", repair=repair)


def _missing_colon(text: str, found: Found, _opener: tuple[str, int] | None) -> Verdict | None:
    if found.accepts != {"COLON"} or found.kind == "$END":
        return None
    repair = (found.span[0], ":") if text[found.span[0] : found.span[1]] == "=" else None
    message = f"expected `:` between a name and its value, found {_shown(text, found)}"
    return Verdict(Code.MISSING_COLON, message, found.span, 'write "name": value', repair=repair)


def _word(text: str, found: Found, _opener: tuple[str, int] | None) -> Verdict | None:
    if found.kind != "WORD":
        return None
    start, end = found.span
    word = text[start:end]
    if not found.accepts >= VALUES and "STRING" in found.accepts:
        return Verdict(
            Code.UNQUOTED_NAME,
            f"expected a name in double quotes, found {quote(word, 40)}",
            found.span,
            f'write "{word}"',
        )
    if word in _WORDS:
        right = _WORDS[word]
        repair = (start, right) if len(right) == len(word) else None
        return Verdict(
            Code.MISSING_VALUE, f"expected `{right}`, found `{word}`", found.span, f"write {right}", repair=repair
        )
    if word.lstrip("-") in ("NaN", "Infinity", "inf", "nan"):
        message = f"expected a JSON value, found {word}, which JSON does not have"
        return Verdict(Code.NOT_A_NUMBER, message, found.span, "write a finite number")
    if found.accepts >= VALUES:
        message = f"expected a value, found {quote(word, 40)} without quotes"
        return Verdict(Code.MISSING_VALUE, message, found.span, f'text is written "{word}"')
    return None


def _number(text: str, found: Found, _opener: tuple[str, int] | None) -> Verdict | None:
    if found.kind != "BROKEN_NUMBER":
        return None
    message = f"expected a number such as 8080, found {_shown(text, found)}"
    return Verdict(
        Code.BAD_NUMBER, message, found.span, "no leading zero, no plus sign, no hexadecimal; text needs quotes"
    )


def _missing_value(text: str, found: Found, _opener: tuple[str, int] | None) -> Verdict | None:
    if not found.accepts >= VALUES or found.kind not in ("COMMA", "COLON", "RBRACE", "RSQB"):
        return None
    return Verdict(Code.MISSING_VALUE, f"expected a value, found {_shown(text, found)}", found.span)


_TABLE: tuple[Judge, ...] = (
    _control,
    _comment,
    _trailing_comma,
    _unclosed,
    _extra,
    _missing_comma,
    _wrong_quotes,
    _broken_string,
    _missing_colon,
    _word,
    _number,
    _missing_value,
)
