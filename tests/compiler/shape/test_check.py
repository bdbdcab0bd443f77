"""What the Rust TNG knows is told from what nobody knows, and one fault is reported once."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.documents import ATTEST, VERIFY, egress, ingress
from tng_compiler.diagnostics.codes import Code
from tng_compiler.shape.check import check
from tng_compiler.shape.known import CHOICES, FIELDS

PORT = {"capture_dst": {"port": 8080}}


def codes(document: object) -> list[Code]:
    return [fault.code for fault in check(document).faults]


def with_field(kind: str, name: str) -> Any:
    if kind == "":
        return {**ingress(PORT), name: {}}
    if kind in ("ingress", "egress"):
        document: Any = ingress(PORT) if kind == "ingress" else egress(PORT)
        document[f"add_{kind}"][0][name] = {}
        return document
    block = {"attest": ATTEST, "verify": VERIFY, "rats_tls": {}}[kind]
    return ingress(PORT, **{"verify": VERIFY, kind: {**block, name: {}}})


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FIELDS.items() for name in names])
def test_every_field_of_the_manual_is_known(kind: str, name: str) -> None:
    (fault,) = check(with_field(kind, name)).faults
    assert fault.code in (Code.NOT_SUPPORTED_YET, Code.SEVERAL_MODES)
    assert f"`{name}`" in fault.message
    assert fault.place.pointer.endswith(f"/{name}")


@pytest.mark.parametrize(
    ("name", "choice"), [(name, choice) for name, choices in CHOICES.items() for choice in choices]
)
def test_every_choice_of_the_manual_is_known(name: str, choice: str) -> None:
    kind = "attest" if name.startswith("aa_") else "verify"
    block = {"attest": ATTEST, "verify": VERIFY}[kind]
    assert codes(ingress(PORT, **{kind: {**block, name: choice}})) == [Code.NOT_SUPPORTED_YET]


@pytest.mark.parametrize("section", ["metric", "trace", "control_interface"])
def test_null_means_absent_for_sections(section: str) -> None:
    assert codes({**ingress(PORT), section: None}) == []


def test_null_means_absent_for_optional_scalars_and_blocks() -> None:
    destination = {"host": None, "ipset": None, "port": 8080, "port_end": None}
    netfilter = {"capture_dst": destination, "listen_port": None, "so_mark": None}
    entry = {
        "verify": {**VERIFY, "issuer": None, "max_session_age": None},
        "attest": None,
        "ohttp": None,
        "rats_tls": None,
    }
    assert codes(ingress(netfilter, **entry)) == []


@pytest.mark.parametrize(
    "document",
    [
        ingress({**PORT, "capture_cgroup": None}),
        ingress({"capture_dst": None}),
        ingress({**PORT, "ipv6": None}),
        ingress({**PORT, "forwarded": None}),
        egress({**PORT, "udp": None}),
        egress({**PORT, "capture_local_traffic": None}),
        ingress(PORT, verify={**VERIFY, "model": None}),
        ingress(PORT, verify={**VERIFY, "as_headers": None}),
        ingress(PORT, verify={**VERIFY, "policy_ids": None}),
        ingress(PORT, verify={**VERIFY, "skip_as_token_cert_verify": None}),
        {"add_ingress": None},
    ],
)
def test_null_is_an_error_for_lists_flags_and_choices(document: object) -> None:
    assert codes(document) == [Code.NULL_VALUE]


def test_a_misspelt_field_that_is_required_is_one_fault() -> None:
    shape = check(ingress(PORT, verify={"as_addr": "http://127.0.0.1/", "polcy_ids": ["default"]}))
    assert [fault.code for fault in shape.faults] == [Code.UNKNOWN_FIELD]
    assert "/add_ingress/0/verify/policy_ids" in shape.meant


def test_a_field_of_the_other_side_is_sent_there() -> None:
    (fault,) = check(ingress({**PORT, "capture_local_traffic": True})).faults
    assert fault.code is Code.UNKNOWN_FIELD
    assert fault.help is not None
    assert "egress" in fault.help


def test_faults_are_counted_up_to_a_bound() -> None:
    faults = check(ingress({"capture_dst": [{"prot": 1}] * 100_000})).faults
    assert faults[-1].code is Code.TOO_MANY_FAULTS
    assert len(faults) <= 102
