"""JSON as a lark grammar: the tokens of the exact path, and the judge of what is not JSON.

The terminals of ``junk`` match what people write instead of JSON. No document may start there, so one that has such a
token fails in the parser, which knows what it would have accepted, and not in the lexer, which knows nothing.

Repetitions are possessive: one that can be taken back keeps a state for each of millions of characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from lark import Lark

GRAMMAR = r"""
start: value
value: object | array | STRING | NUMBER | LITERAL
object: "{" [pair ("," pair)*] "}"
pair: STRING ":" value
array: "[" [value ("," value)*] "]"
junk: COMMENT | QUOTED | BROKEN_STRING | BROKEN_NUMBER | WORD | OTHER

STRING.9: /"[^"\\\x00-\x1f]*+(?:\\(?:["\\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"/
NUMBER.8: /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.+-])/
LITERAL.8: /(?:true|false|null)(?![\w.])/
COMMENT.7: /\/\/[^\n]*|\#[^\n]*|\/\*[^*]*+(?:\*(?!\/)[^*]*+)*+(?:\*\/)?/
QUOTED.6: /'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+'?|[“”‘’][^“”‘’\n]*[“”‘’]?|`[^`\n]*`?/
BROKEN_STRING.5: /"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?/
BROKEN_NUMBER.4: /[+-]?\.?[0-9][\w.+-]*/
WORD.3: /-?[^\W\d][\w$-]*/
OTHER.-1: /[^ \t\r\n]/
WS: /[ \t\r\n]+/
%ignore WS
"""

VALUES = frozenset({"STRING", "NUMBER", "LITERAL", "LBRACE", "LSQB"})
"""Terminals that begin a value."""
PLAIN = VALUES | {"RBRACE", "RSQB", "COMMA", "COLON"}
"""Terminals of JSON proper."""


@cache
def parser() -> Lark:
    """Return the LALR parser; ``basic`` lexing, so that a token is the same wherever it stands."""
    return Lark(GRAMMAR, parser="lalr", lexer="basic", start=["start", "junk"])


@cache
def _scanner() -> re.Pattern[str]:
    terminals = sorted(parser().terminals, key=lambda terminal: -terminal.priority)
    named = [f"(?P<{terminal.name}>{terminal.pattern.to_regexp()})" for terminal in terminals if terminal.name != "WS"]
    # Blanks are given back to nothing, and may end the text: else each of many would be tried as the first of them.
    return re.compile(r"[ \t\r\n]*+(?:" + "|".join([*named, r"\Z"]) + ")")


def tokens(text: str, start: int = 0) -> Iterator[tuple[str, int, int]]:
    """Yield ``(terminal, start, end)`` of every token from an offset on.

    This is the lexer of the grammar above at the speed of one regex: lark's own makes every token an object, which
    100,000 items cannot afford. The terminals are lark's either way.
    """
    for match in _scanner().finditer(text, start):
        kind = match.lastgroup
        if kind is not None:
            yield kind, *match.span(kind)
