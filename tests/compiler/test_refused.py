"""Every refusal as a golden: ``refused/<stage>_<case>.json`` in, ``snapshots/refused/<stage>_<case>.txt`` out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from compiler.conftest import SNAPSHOTS
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Severity
from tng_compiler.diagnostics.render_text import render
from tng_compiler.host.examine import HOST_CODES
from tng_compiler.pipeline import Backend, Outcome, compile_bytes
from tng_compiler.source.text import MAX_BYTES

CASES = Path(__file__).parent / "refused"
FILES = {path.stem: path.read_bytes() for path in sorted(CASES.glob("*.json"))}
MADE = {
    "text_too_large": b" " * (MAX_BYTES + 1),
    "shape_a_hundred_faults": json.dumps(
        {"add_ingress": [{"netfilter": {"capture_dst": [{"prot": port} for port in range(150)]}, "no_ra": True}]},
    ).encode(),
    "meaning_a_hundred_faults": json.dumps(
        {"add_ingress": [{"netfilter": {"capture_dst": [{"host": "10.0.0.1/8"}] * 5000}, "no_ra": True}]}
    ).encode(),
    "shape_too_many_entries": json.dumps(
        {"add_ingress": [{"netfilter": {"capture_dst": {"port": 1}}, "no_ra": True}] * 1001}
    ).encode(),
    "plan_too_fragmented": json.dumps(
        {
            "add_ingress": [
                {
                    "netfilter": {
                        "capture_dst": [
                            *({"host": "10.0.0.0/16", "port": 2 * port} for port in range(1, 1001)),
                            *({"host": f"10.0.{n // 250}.{n % 250}"} for n in range(260)),
                        ]
                    },
                    "verify": {"as_addr": "http://127.0.0.1:8081/", "policy_ids": ["default"]},
                }
            ]
        }
    ).encode(),
    "plan_items_nested_too_deep": json.dumps(
        {
            "add_ingress": [
                {
                    "netfilter": {"capture_dst": [{"port": port, "port_end": 65535} for port in range(8000, 10200)]},
                    "verify": {"as_addr": "http://127.0.0.1:8081/", "policy_ids": ["default"]},
                },
            ]
        }
    ).encode(),
}
ALL = FILES | MADE


def compile_case(case: str, *, strict: bool = False) -> Outcome:
    """Compile a case; those of the stage ``iptables`` are refused by that backend only."""
    backend: Backend = "iptables" if case.startswith("iptables_") else "nft"
    return compile_bytes(f"{case}.json", ALL[case], strict=strict, backend=backend)


@pytest.mark.parametrize("case", ALL)
def test_a_refusal_reads_as_its_golden(case: str, golden: SnapshotAssertion) -> None:
    outcome = compile_case(case)
    assert outcome.found
    shown = outcome.found if len(outcome.found) <= 10 else (*outcome.found[:3], outcome.found[-1])
    assert render(shown) == golden(name=f"refused/{case}.txt")


@pytest.mark.parametrize("case", ALL)
def test_an_error_leaves_no_plan_and_a_warning_does(case: str) -> None:
    outcome = compile_case(case)
    assert (outcome.plan is None) == any(item.is_error for item in outcome.found)
    only_notes = all(item.diagnostic.severity is Severity.NOTE for item in outcome.found)
    assert (compile_case(case, strict=True).plan is None) != only_notes


def test_no_golden_outlives_its_case() -> None:
    assert {path.stem for path in (SNAPSHOTS / "refused").iterdir()} == set(ALL)


def test_every_code_has_a_refusal_case() -> None:
    seen = {item.diagnostic.code for name in ALL for item in compile_case(name).found}
    of_hosts = {code.name for code in HOST_CODES}  # tests/compiler/host has those
    assert {code.name for code in Code} - of_hosts - {code.name for code in seen} == set()


@pytest.mark.parametrize("case", ALL)
def test_messages_say_what_was_expected_before_what_was_found(case: str) -> None:
    for item in compile_case(case).found:
        assert item.diagnostic.message.startswith("expected "), item.diagnostic.message
        assert "\n" not in item.diagnostic.message


def test_a_newcomer_sees_all_of_many_mistakes_in_one_run() -> None:
    outcome = compile_bytes("newcomer.json", FILES["newcomer_five_mistakes"])
    assert [item.diagnostic.code for item in outcome.found] == [
        Code.COMMENT,
        Code.HOST_BITS_SET,
        Code.UNKNOWN_FIELD,
        Code.WRONG_TYPE,
        Code.TRAILING_COMMA,
        Code.TRUST_CONFLICT,
        Code.BAD_AS_ADDR,
        Code.EMPTY_POLICY_IDS,
    ]


def test_strict_turns_warnings_into_errors() -> None:
    relaxed = compile_bytes("x", FILES["trust_no_attestation"])
    strict = compile_bytes("x", FILES["trust_no_attestation"], strict=True)
    assert [item.diagnostic.severity for item in relaxed.found] == [Severity.WARNING]
    assert [item.diagnostic.severity for item in strict.found] == [Severity.ERROR]
    assert relaxed.plan is not None
    assert strict.plan is None
