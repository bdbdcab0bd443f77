"""The codes in the log, said in words: what one means and what the operator does about it."""

from __future__ import annotations

from textwrap import fill

from tng_runtime.attest.codes import Code
from tng_runtime.errors import ExplainedCode, HostError, LinkCode

_WIDTH = 96


def text(wanted: str | None) -> str:
    """The explanation of one code, in any case, or a line for each; raises ``HostError`` (2) if there is no such."""
    codes: dict[str, ExplainedCode] = {code.value: code for code in (*Code, *LinkCode)}
    if wanted is None:
        return "\n".join(f"{name}  {code.meaning}" for name, code in sorted(codes.items()))
    code = codes.get(wanted.upper())
    if code is None:
        message = f"expected a code such as NET-DIAL, found {wanted[:40]!r}"
        raise HostError(message, hint="`tng-runtime explain-code` lists all of them", exit_code=2)
    return f"{code.value}: {fill(code.meaning, _WIDTH)}\n\nWhat to do:\n\n{fill(code.action, _WIDTH)}"
