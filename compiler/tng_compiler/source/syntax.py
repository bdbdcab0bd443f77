"""What is not JSON, said the way its author thinks of it: a trailing comma, a comment, single quotes, nothing closed.

The scanner of ``json`` says where reading ended. Everything before is well formed, so only the parser's state there
matters: the text before is folded into the shortest one that leads to the same state (``[0,`` for any array after a
comma), and lark judges that, with what follows. Any document costs one walk over its brackets, and no parse.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from lark import UnexpectedInput
from lark.exceptions import UnexpectedToken

from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.source.grammar import PLAIN, parser, tokens
from tng_compiler.source.lines import Lines
from tng_compiler.source.scan import LEVELS
from tng_compiler.source.verdicts import Found, Verdict, judge

_WINDOW = 4096
_AHEAD = 4
_CLOSES = {"LBRACE": "RBRACE", "LSQB": "RSQB"}
_CLOSERS = frozenset(_CLOSES.values())
_CONSTANTS = frozenset({"NaN", "Infinity", "-Infinity"})


@dataclass(frozen=True, slots=True)
class SyntaxFault:
    """``repaired`` is the text as it was meant, of the same length so that places stay true; None: anybody's guess."""

    diagnostic: Diagnostic
    repaired: str | None


@dataclass(slots=True)
class _Prefix:
    """The tokens before the fault: the containers still open, and the last two."""

    opened: list[tuple[str, int]]
    last: list[tuple[str, int, int]]
    start: int


def explain(text: str, position: int, lines: Lines) -> SyntaxFault:
    """Explain why the text cannot be read on at ``position`` (an offset in characters).

    ``lines`` are those of what the author wrote: a repair may have put a comma in the place of a line end.
    """
    prefix = _fold(text, position)
    opener = prefix.opened[-1] if prefix.opened else None
    folded = _state(prefix)
    found = _ask(folded, text, prefix)
    verdict = judge(text, found, opener)
    notes = tuple(Note(Place("", span=lines.span(*span)), message) for span, message in verdict.notes)
    diagnostic = Diagnostic(
        verdict.code,
        Severity.ERROR,
        verdict.message,
        Place("", span=lines.span(*verdict.span)),
        notes,
        verdict.help,
    )
    return SyntaxFault(diagnostic, _apply(text, verdict))


def _fold(text: str, position: int) -> _Prefix:
    begin, opened = _near(text, position)
    before: tuple[str, int, int] | None = None
    last: tuple[str, int, int] | None = None
    fault = len(text)
    for kind, start, end in tokens(text, begin):
        # json takes the constants that JSON does not have, and reads on behind them.
        constant = kind == "WORD" and text[start:end] in _CONSTANTS
        if start >= position or not (constant or kind in PLAIN):
            fault = start
            break
        if kind in _CLOSES:
            opened.append((kind, start))
        elif kind in _CLOSERS and opened:
            opened.pop()
        before, last = last, ("NUMBER" if constant else kind, start, end)
    return _Prefix(opened, [token for token in (before, last) if token], fault)


def _near(text: str, position: int) -> tuple[int, list[tuple[str, int]]]:
    """Return where a token begins, some tokens before ``position``, and the containers that are open there."""
    opened: list[tuple[str, int]] = []
    ahead: deque[tuple[int, int]] = deque()
    for match in LEVELS.finditer(text):
        if match.end() > position or match[0] == '"':
            break
        ahead.append(match.span())
        if len(ahead) > _AHEAD:
            _step(text, opened, *ahead.popleft())
    # Behind the last of them are numbers, literals, commas and colons only.
    commas = position
    for _ in range(_AHEAD):
        commas = text.rfind(",", ahead[-1][1] if ahead else 0, max(0, commas))
    if commas < 0:
        return ahead[0][0] if ahead else 0, opened
    for span in ahead:
        _step(text, opened, *span)
    return commas, opened


def _step(text: str, opened: list[tuple[str, int]], start: int, end: int) -> None:
    if end - start == 1:
        if text[start] in "[{":
            opened.append(("LSQB" if text[start] == "[" else "LBRACE", start))
        elif opened:
            opened.pop()


def _state(prefix: _Prefix) -> str:
    """Return the shortest text that leaves the parser as the prefix does."""
    kind = prefix.last[-1][0] if prefix.last else ""
    if not prefix.opened:
        return "0" if kind else ""
    if prefix.opened[-1][0] == "LSQB":
        return {"LSQB": "[", "COMMA": "[0,"}.get(kind, "[0")
    if kind == "STRING" and prefix.last[0][0] != "COLON":
        return '{"a"'
    return {"LBRACE": "{", "COLON": '{"a":', "COMMA": '{"a":0,'}.get(kind, '{"a":0')


def _ask(folded: str, text: str, prefix: _Prefix) -> Found:
    """Let lark read the folded prefix and what follows, and say which token it did not accept."""
    shift = prefix.start - len(folded) - 1
    before = prefix.last[-1] if prefix.last else None
    try:
        parser().parse(f"{folded} {text[prefix.start : prefix.start + _WINDOW]}", start="start")
    except UnexpectedToken as error:
        token = error.token
        if token.type == "$END" or token.start_pos is None or token.end_pos is None:
            return Found("$END", (len(text), len(text)), frozenset(error.accepts or ()), before)
        span = (token.start_pos + shift, token.end_pos + shift)
        return Found(token.type, span, frozenset(error.accepts or ()), before)
    except UnexpectedInput:
        pass
    return Found("OTHER", (prefix.start, min(prefix.start + 1, len(text))), frozenset(), before)


def _apply(text: str, verdict: Verdict) -> str | None:
    if verdict.repair is None:
        return None
    start, replacement = verdict.repair
    repaired = text[:start] + replacement + text[start + len(replacement) :]
    return repaired if len(repaired) == len(text) and repaired != text else None
