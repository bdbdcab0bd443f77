"""What the log's codes mean, told by the runtime, and by ``tng`` through it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tng_runtime import explain
from tng_runtime.attest.codes import Code
from tng_runtime.errors import HostError, LinkCode

TNG = str(Path(sys.prefix) / "bin" / "tng")


@pytest.mark.parametrize("code", [*Code, *LinkCode], ids=lambda code: code.value)
def test_every_code_is_explained(code: Code | LinkCode) -> None:
    said = " ".join(explain.text(code.value.lower()).split())
    assert said.startswith(f"{code.value}: ")
    assert code.meaning in said
    assert code.action in said


def test_a_code_that_is_none_is_usage() -> None:
    with pytest.raises(HostError) as raised:
        explain.text("RA-NONSENSE")
    assert raised.value.exit_code == 2


def test_tng_explains_the_runtimes_codes_too() -> None:
    listed = subprocess.run([TNG, "explain-code"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "TNG202  " in listed
    assert "RA-CERT-CHAIN  " in listed
    one = subprocess.run([TNG, "explain-code", "net-dial"], capture_output=True, text=True, check=True, timeout=60)
    assert one.stdout.startswith("NET-DIAL: The destination could not be reached.")
    assert subprocess.run([TNG, "explain-code", "NET-NO"], capture_output=True, check=False, timeout=60).returncode == 2
