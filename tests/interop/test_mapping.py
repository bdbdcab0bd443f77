"""Mappings against the Rust TNG's, in both directions: the same documents, the same wire."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from interop import ends
from interop.ends import ATTEST, FIRST_PORT, NO_RA, VERIFY, Program, Trust
from tng_demo import tunnel
from tng_demo.lab import lab
from tng_demo.sample_agent import SampleAgent
from tng_demo.sample_authority import create_authority
from tng_demo.sample_service import SampleService
from tng_demo.web import serve

pytestmark = [pytest.mark.interop, pytest.mark.netns]

IN, BETWEEN = 10001, 20001
PAIRS: list[tuple[Program, Program]] = [("ours", "rust"), ("rust", "ours")]
TRUST: dict[str, tuple[Trust, Trust]] = {"no_ra": (NO_RA, NO_RA), "verify": (VERIFY, ATTEST)}


def pair(first: dict[str, Any], second: dict[str, Any], *, listed: bool) -> dict[str, Any]:
    return {"rules": [{"in": first, "out": second}]} if listed else {"in": first, "out": second}


@pytest.mark.parametrize("trust", TRUST)
@pytest.mark.parametrize(("ingress", "egress"), PAIRS)
def test_a_page_comes_through_two_mappings(
    peer: Path, tmp_path: Path, ingress: Program, egress: Program, trust: str
) -> None:
    ours, theirs = TRUST[trust]
    listed = trust == "no_ra"
    with lab("client", "server") as hosts, contextlib.ExitStack() as stack:
        client, server = hosts["client"], hosts["server"]
        stack.enter_context(SampleAgent(server.state / "run" / "aa.sock"))
        with client.inside():
            stack.enter_context(SampleService(ends.SERVICE_ADDRESS, signing=create_authority()))
        web = serve(server, tmp_path / "web", FIRST_PORT)
        (web.www / "index.html").write_text("the page\n", encoding="utf-8")
        last = {"host": "127.0.0.1", "port": FIRST_PORT}
        comes = pair({"host": "0.0.0.0", "port": BETWEEN}, last, listed=listed)
        goes = pair({"host": "127.0.0.1", "port": IN}, {"host": server.ipv4, "port": BETWEEN}, listed=listed)
        there = tunnel.write_config(tmp_path / "server.json", {"add_egress": [{"mapping": comes, **theirs}]})
        here = tunnel.write_config(tmp_path / "client.json", {"add_ingress": [{"mapping": goes, **ours}]})
        ends._start(server, egress, peer, there)
        ends._start(client, ingress, peer, here)
        done = client.run("curl", "-sS", "--max-time", "60", f"http://127.0.0.1:{IN}/", check=False)
        assert done.stdout == "the page\n", done.stderr
