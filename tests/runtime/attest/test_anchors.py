"""Trust anchors are read whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from runtime.attest import makers
from runtime.attest.makers import NOW, ec_key, rsa_key
from tng_runtime.attest.anchors import MAX_ANCHORS, MAX_PEM_BYTES, read_anchors
from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused

PEM = makers.Authority().pem
OTHER = makers.certificate("other", ec_key("other"), extensions=[makers.CA]).public_bytes(Encoding.PEM)
PRIVATE = ec_key("other").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def pem_of(**dates: Any) -> bytes:
    """A CA with these dates."""
    return makers.certificate("dated", ec_key("other"), extensions=[makers.CA], **dates).public_bytes(Encoding.PEM)


def test_all_certificates_of_a_bundle_are_anchors() -> None:
    """Files may be joined, and text between them is allowed."""
    assert len(read_anchors(b"# the service's CA\n" + PEM + OTHER, NOW).certificates) == 2


@pytest.mark.parametrize(
    ("pem", "code"),
    [
        pytest.param(lambda: b"", Code.ANCHOR_FORM, id="h84_empty"),
        pytest.param(lambda: b"\x30\x82", Code.ANCHOR_FORM, id="h84_not_pem"),
        pytest.param(lambda: b"<html>", Code.ANCHOR_FORM, id="h58_html"),
        pytest.param(lambda: PEM + PRIVATE, Code.ANCHOR_FORM, id="a_private_key"),
        pytest.param(lambda: PRIVATE, Code.ANCHOR_FORM, id="only_a_private_key"),
        pytest.param(lambda: PEM.replace(b"M", b"N", 1), Code.ANCHOR_FORM, id="altered"),
        pytest.param(lambda: PEM + PEM[:200], Code.ANCHOR_FORM, id="cut"),
        pytest.param(lambda: PEM * (MAX_ANCHORS + 1), Code.ANCHOR_FORM, id="too_many"),
        pytest.param(lambda: PEM + b" " * MAX_PEM_BYTES, Code.ANCHOR_FORM, id="too_large"),
        pytest.param(lambda: pem_of(end=NOW - timedelta(seconds=1)), Code.ANCHOR_DATES, id="h84_expired"),
        pytest.param(lambda: PEM + pem_of(end=NOW - timedelta(1), begin=NOW - timedelta(2)), Code.ANCHOR_DATES,
                     id="h84_one_of_two_expired"),
        pytest.param(lambda: pem_of(begin=NOW + timedelta(seconds=1), end=NOW + timedelta(1)), Code.ANCHOR_DATES,
                     id="ahead"),
        pytest.param(lambda: makers.certificate("weak", rsa_key(1024)).public_bytes(Encoding.PEM), Code.ANCHOR_FORM,
                     id="rsa_1024"),
    ],
)  # fmt: skip
def test_read_anchors_refuses(pem: Callable[[], bytes], code: Code) -> None:
    """A bundle with one bad part is refused."""
    with pytest.raises(Refused) as refusal:
        read_anchors(pem(), NOW)
    assert refusal.value.code == code
