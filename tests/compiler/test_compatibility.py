"""docs/compatibility.md is complete: every code that refuses a document has a row, or is refused by the Rust TNG too.

What the Rust TNG does with each kind of document is tried in ``interop/test_documents``.
"""

from __future__ import annotations

import re
from pathlib import Path

from compiler.test_refused import ALL, compile_case
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Severity

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
SECTIONS = ("Refused here, accepted there", "Known, but not supported yet (TNG203)")

NOT_JSON = "no parser of JSON takes it"
PARSED = "its parser refuses it"
REFUSED_THERE: dict[Code, str] = {
    Code.NOT_JSON: NOT_JSON,
    Code.NOT_UTF8: NOT_JSON,
    Code.WIDE_ENCODING: NOT_JSON,
    Code.CONTROL_CHARACTER: NOT_JSON,
    Code.LONE_SURROGATE: "also where a field is ignored",
    Code.NOT_A_NUMBER: "also where a field is ignored",
    Code.TOO_DEEP: "its parser ends at 128 levels as well",
    Code.WRONG_QUOTES: NOT_JSON,
    Code.MISSING_COMMA: NOT_JSON,
    Code.UNCLOSED: NOT_JSON,
    Code.EMPTY_DOCUMENT: NOT_JSON,
    Code.EXTRA_DATA: NOT_JSON,
    Code.MISSING_COLON: NOT_JSON,
    Code.MISSING_VALUE: NOT_JSON,
    Code.UNQUOTED_NAME: NOT_JSON,
    Code.BAD_ESCAPE: NOT_JSON,
    Code.BAD_NUMBER: NOT_JSON,
    Code.MISSING_FIELD: PARSED,
    Code.NO_MODE: PARSED,
    Code.SEVERAL_MODES: PARSED,
    Code.TOO_MANY_FAULTS: "never by itself: the faults before it have rows of their own",
    Code.TRUST_CONFLICT: PARSED,
    Code.TRUST_MISSING: PARSED,
    Code.HOST_BITS_SET: PARSED,
    Code.PORT_END_ALONE: PARSED,
    Code.PORT_END_BELOW_PORT: PARSED,
    Code.HOST_AND_IPSET: PARSED,
    Code.EMPTY_DESTINATION: PARSED,
    Code.CAPTURE_UNSAID: PARSED,
    Code.BAD_AA_ADDR: PARSED,
    Code.HEADERS_WITHOUT_SERVICE: PARSED,
    Code.BAD_HEADER: PARSED,
    Code.SKIP_WITH_PIN: PARSED,
    Code.SKIP_WITH_SERVICE: PARSED,
    Code.NO_TRUST_ANCHOR: PARSED,
    Code.CA_WITHOUT_TLS: "it does not know `as_ca_paths`",
    Code.MAPPING_UNSAID: PARSED,
    Code.MAPPED_RANGES_DIFFER: PARSED,
    Code.PROXY_HEADER_TOO_LONG: "it does not know `proxy_protocol`",
    Code.SERVICE_REQUIRED: PARSED,
    Code.LISTEN_PORT_TWICE: "the second entry cannot bind its port",
    Code.LOCAL_TRAFFIC_BY_CGROUP: "rules for a cgroup of an egress fail to load",
    Code.TOO_FRAGMENTED: "the command line of that many destinations overflows",
    Code.NOT_IN_IPTABLES: "rules for a cgroup of an egress fail to load",
}
"""Codes that refuse nothing which the Rust TNG would run with, and why."""


def refusing() -> set[Code]:
    """The codes that end a run without ``--strict``; every code has a case."""
    found = (item.diagnostic for name in ALL for item in compile_case(name).found)
    return {diagnostic.code for diagnostic in found if diagnostic.severity is Severity.ERROR}


def rows() -> set[Code]:
    """The codes that the page names where it lists what is refused here alone."""
    sections = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    chosen = [section for section in sections if section.startswith(SECTIONS)]
    assert len(chosen) == len(SECTIONS)
    return {Code(name) for section in chosen for name in re.findall(r"TNG\d{3}", section)}


def test_every_code_that_refuses_has_a_row_or_refuses_there_too() -> None:
    undecided = refusing() - rows() - set(REFUSED_THERE)
    assert not undecided, "give each a row in docs/compatibility.md, or say in REFUSED_THERE why it needs none"


def test_no_decision_is_left_of_a_code_that_no_longer_refuses() -> None:
    assert rows() | set(REFUSED_THERE) <= refusing()


def test_no_code_is_on_both_sides() -> None:
    assert rows() & set(REFUSED_THERE) == set()
