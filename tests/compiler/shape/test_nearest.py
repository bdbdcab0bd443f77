"""Did you mean: what people mistype, and what is nobody's typo."""

from __future__ import annotations

import pytest

from tng_compiler.shape.nearest import distance, nearest

NAMES = ["capture_dst", "capture_cgroup", "nocapture_cgroup", "listen_port", "so_mark", "ipv6", "capture_local_traffic"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("capture_dts", "capture_dst"),
        ("captur_dst", "capture_dst"),
        ("captureDst", "capture_dst"),
        ("Capture-Dst", "capture_dst"),
        ("nocapture_cgroups", "nocapture_cgroup"),
        ("listenport", "listen_port"),
        ("mark", "so_mark"),
        ("ip6", "ipv6"),
        ("xyzzy", None),
        ("", None),
        ("a" * 10_000, None),
    ],
)
def test_the_nearest_name_is_offered_when_it_is_near(typed: str, meant: str | None) -> None:
    assert nearest(typed, NAMES) == meant


def test_a_swap_of_neighbours_is_one_edit() -> None:
    assert distance("prot", "port") == 1
    assert distance("", "abc") == 3
    assert distance("same", "same") == 0
