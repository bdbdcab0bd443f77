"""Progress on a real terminal, and its absence everywhere else."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

from tng_compiler.cli.progress import working

TNG = str(Path(sys.prefix) / "bin" / "tng")


def test_long_work_has_a_line_on_a_terminal_that_is_gone_afterwards() -> None:
    master, slave = pty.openpty()
    with open(slave, "w") as terminal, open(master, "rb", buffering=0) as seen:
        with working("compiling big.json", terminal, after=0.0):
            text = seen.read(200)
            while b"compiling big.json: 0 s" not in text:
                text += seen.read(200)
        while not text.endswith(b"\r\x1b[K"):
            text += seen.read(200)
    assert b"\n" not in text


def test_short_work_has_none(tmp_path: Path) -> None:
    """A whole command at a terminal: what it says, and nothing besides."""
    (tmp_path / "x.json").write_text('{"add_ingress": [{"netfilter": {"capture_dst": {"port": 1}}, "no_ra": true}]}')
    master, slave = pty.openpty()
    with open(slave, "wb", buffering=0) as terminal, open(master, "rb", buffering=0) as seen:
        done = subprocess.run(
            [TNG, "compile", "x.json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=terminal, check=True
        )
        os.write(slave, b"END")
        text = seen.read(1 << 16)
        while not text.endswith(b"END"):
            text += seen.read(1 << 16)
    assert done.stdout.startswith(b"#")
    assert b"tng: compiling" not in text


def test_a_pipe_sees_nothing() -> None:
    stream = io.StringIO()
    with working("compiling big.json", stream, after=0.0):
        pass
    assert stream.getvalue() == ""
