"""The codes are an interface."""

from __future__ import annotations

import re

from tng_runtime.attest.codes import Code
from tng_runtime.errors import ExplainedCode, LinkCode, Refused


def test_every_code_is_stable_and_explained() -> None:
    """Its group, capitals, one line of meaning and of action each, no two with the same meaning."""
    codes: list[ExplainedCode] = [*Code, *LinkCode]
    assert len({code.meaning for code in codes}) == len(codes)
    for code in codes:
        group = "RA" if isinstance(code, Code) else "(TLS|NET)"
        assert re.fullmatch(group + r"-[A-Z0-9]+(-[A-Z0-9]+)*", code)
        assert code.name == code.removeprefix("RA-").replace("-", "_")
        for line in (code.meaning, code.action):
            assert line.endswith(".")
            assert "\n" not in line


def test_a_refusal_reads_as_text() -> None:
    """Logs show the value, not the enum."""
    assert str(Refused(Code.CERT_SIZE, "too large")) == "RA-CERT-SIZE: too large"
