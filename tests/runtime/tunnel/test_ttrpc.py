"""The client's ttrpc against the sample agent's codec, which was written apart from it, and against any bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tng_demo import sample_ttrpc
from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused
from tng_runtime.tunnel import ttrpc


@given(st.integers(1, 2**31), st.text(min_size=1), st.text(min_size=1), st.binary(), st.integers(0, 2**62))
def test_a_request_is_read_by_another_codec(
    stream: int, service: str, method: str, payload: bytes, timeout: int
) -> None:
    frame = ttrpc.request(stream, service, method, payload, timeout)
    header, data = frame[: ttrpc.HEADER.size], frame[ttrpc.HEADER.size :]
    assert sample_ttrpc.read_call(header, data) == sample_ttrpc.Call(stream, service, method, payload)
    assert sample_ttrpc.HEADER.unpack(header) == (len(data), stream, 1, 0)
    assert sample_ttrpc.read_fields(data)[4] == timeout


@given(st.binary())
def test_an_answer_of_another_codec_is_read(payload: bytes) -> None:
    assert ttrpc.read_response(sample_ttrpc.response(payload)) == ttrpc.Response(0, "", payload)
    assert ttrpc.read_bytes(sample_ttrpc.bytes_field(1, payload)) == payload


def test_an_error_of_another_codec_is_read() -> None:
    assert ttrpc.read_response(sample_ttrpc.failure(13, "no device")) == ttrpc.Response(13, "no device", b"")


def test_an_empty_status_means_success() -> None:
    """Some servers write the status also when it is OK."""
    assert ttrpc.read_response(b"\x0a\x00" + sample_ttrpc.response(b"x")).code == 0


def test_fields_of_later_versions_are_skipped() -> None:
    later = b"\x48\x07" + b"\x51" + b"8bytes.." + b"\x5d" + b"four" + sample_ttrpc.bytes_field(12, b"more")
    assert ttrpc.read_text(later + sample_ttrpc.bytes_field(1, b"tdx")) == "tdx"


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        pytest.param(b"\x0a\x01a\x0a\x01b", "comes twice", id="field-twice"),
        pytest.param(b"\x08\x01", "wire type 0, not 2", id="number-for-bytes"),
        pytest.param(b"\x0b", "wire type 3", id="group"),
        pytest.param(b"\x02\x00", "field number", id="field-zero"),
        pytest.param(b"\x0a\x05abc", "over the end", id="cut-bytes"),
        pytest.param(b"\x59abc", "over the end", id="cut-fixed"),
        pytest.param(b"\x0a", "varint", id="no-length"),
        pytest.param(b"\x0a" + b"\x80" * 10 + b"\x01", "varint", id="varint-of-eleven"),
        pytest.param(b"\x0a" + b"\xff" * 9 + b"\x7f", "varint", id="varint-of-70-bits"),
        pytest.param(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "over the end", id="length-of-2-to-63"),
        pytest.param(b"\x0a\x02\xc3\x28", "UTF-8", id="not-utf8"),
    ],
)
def test_h62_a_malformed_message_is_refused(message: bytes, problem: str) -> None:
    with pytest.raises(Refused, match=problem) as caught:
        ttrpc.read_text(message)
    assert caught.value.code == Code.AGENT_FRAME


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        pytest.param((5, 3, 2, 0), "stream 1, got stream 3", id="another-stream"),
        pytest.param((5, 1, 3, 0), "type 3", id="type-3"),
        pytest.param((5, 1, 1, 0), "type 1", id="a-request"),
        pytest.param((ttrpc.MAX_DATA + 1, 1, 2, 0), "at most 4194304", id="over-4-MiB"),
        pytest.param((0xFFFFFFFF, 1, 2, 0), "at most 4194304", id="4-GiB"),
    ],
)
def test_h62_a_header_of_something_else_is_refused(header: tuple[int, int, int, int], problem: str) -> None:
    with pytest.raises(Refused, match=problem) as caught:
        ttrpc.response_length(ttrpc.HEADER.pack(*header), 1)
    assert caught.value.code == Code.AGENT_FRAME


def test_a_frame_of_4_mib_is_allowed() -> None:
    assert ttrpc.response_length(ttrpc.HEADER.pack(ttrpc.MAX_DATA, 5, 2, 0), 5) == ttrpc.MAX_DATA


@given(st.binary(max_size=200), st.binary(min_size=10, max_size=10))
def test_any_bytes_end_in_a_value_or_a_refusal(data: bytes, header: bytes) -> None:
    for parse in (ttrpc.read_response, ttrpc.read_bytes, ttrpc.read_text):
        with contextlib.suppress(Refused):
            parse(data)
    with contextlib.suppress(Refused):
        ttrpc.response_length(header, 1)
