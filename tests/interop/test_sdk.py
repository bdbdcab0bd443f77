"""The Python SDK of the Rust TNG with our program: what it starts, and what becomes of the document that it writes.

The SDK writes one kind of document, an ingress with an `http_proxy`, which ours refuses by name.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop

OURS = Path(sys.prefix) / "bin" / "tng"
PROGRAM = "import tng; tng.Tng(no_ra=True)"


def test_the_sdk_starts_ours_which_says_what_it_cannot_do(peer: Path, tmp_path: Path) -> None:
    (wheel,) = peer.parent.glob("tng_sdk-*.whl")
    environment = {**os.environ, "PYTHONPATH": str(wheel), "TNG_BINARY": str(OURS), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert "TNG process exited with code 1 before proxy was ready" in done.stderr
    (log,) = tmp_path.glob("tng_stderr_*.log")
    assert "http_proxy" in log.read_text()
    assert "TNG2" in log.read_text()
