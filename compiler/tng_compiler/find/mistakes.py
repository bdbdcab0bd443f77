"""What is wrong with a pattern, in the words of its author."""

from __future__ import annotations

import re

from lark import UnexpectedInput
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from tng_compiler.diagnostics.mistake import Mistake
from tng_compiler.diagnostics.quoting import quote
from tng_compiler.shape.nearest import nearest

WORDS = {
    "_AND": "`and`",
    "_OR": "`or`",
    "_NOT": "`not`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "_BY": "`by`",
    "FATE": "`captured`, `taken`, `passed` or `refused`",
    "PROTOCOL": "`tcp` or `udp`",
    "FAMILY": "`ipv4` or `ipv6`",
    "DIRECTION": "`ingress`, `egress`, `forwarded` or `local`",
    "AGE": "`new` or `established`",
    "_RUNTIME": "`runtime up` or `runtime down`",
    "STATE": "`up` or `down`",
    "PROOF": "`verified`, `attested` or `no_ra`",
    "_TO": "`to ADDRESS`",
    "_PORT": "`port N`",
    "_CGROUP": "`cgroup /PATH`",
    "_OVER": "`over INTERFACE`",
    "_IN": "`in set NAME`",
    "_SET": "`set`",
    "POINTER": "an entry such as /add_ingress/0",
    "TARGET": "an address, a network or ADDRESS:PORT",
    "PORTS": "a port or ports such as 80-89",
    "INTERFACE": "an interface such as docker0 or br-*",
    "PATH": "a path such as /app.slice",
    "NAME": "the name of a set",
    "$END": "the end",
}
"""Terminals, as the author of a pattern knows them."""

_WORD = re.compile(r"[^\s()]+|.", re.DOTALL)
_KEYWORDS = sorted({word for words in WORDS.values() for word in re.findall(r"`([a-z_0-9]+)", words)})

_MEANT = {
    "&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "plaintext": "passed", "plain": "passed",
    "unprotected": "passed", "open": "passed", "allowed": "passed", "bypassed": "passed", "blocked": "refused",
    "denied": "refused", "dropped": "refused", "rejected": "refused", "redirected": "captured", "protected": "captured",
    "tunnelled": "captured", "outgoing": "ingress", "incoming": "egress",
}  # fmt: skip
"""What people write instead."""


class PatternError(Exception):
    """``position`` is the offset in the pattern at which it cannot be read."""

    def __init__(self, message: str, position: int, help_: str = "") -> None:
        super().__init__(message)
        self.position = position
        self.help = help_ or "such as `passed and ingress and to 10.0.0.0/8`"

    def within(self, text: str) -> Mistake:
        """Return what is to be shown."""
        found = _WORD.match(text, self.position)
        return Mistake(str(self), self.position, found.end() if found else self.position, self.help)


def unexpected(text: str, error: UnexpectedInput) -> PatternError:
    """Return what was expected where the parser stopped, and what stands there."""
    expected: set[str] = set()
    at: int | None = getattr(error, "pos_in_stream", None)  # lark declares it as None
    position = len(text) if at is None else at
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or ()) or error.expected
        position = len(text) if error.token.type == "$END" else position
    elif isinstance(error, UnexpectedCharacters):
        expected = error.allowed or expected
    rest = _WORD.match(text, position)
    word = rest[0] if rest else ""
    wanted = [words for terminal, words in WORDS.items() if terminal in expected]
    # Where anything may stand, all of it would hide what was found.
    some = "a word of a pattern" if "FATE" in expected else ", ".join(wanted) or "a pattern"
    meant = _MEANT.get(word.lower())
    if word and word not in _KEYWORDS:
        meant = meant or nearest(word, _KEYWORDS)
    help_ = f"did you mean `{meant}`?" if meant else f"one of {', '.join(wanted)}" if "FATE" in expected else ""
    return PatternError(f"expected {some}, found {quote(word) if word else 'the end'}", position, help_)
