"""``tng diff --live`` against a run that is alive: real rules, in a network namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compiler.documents import ingress, text

PROGRAM = f"#!{sys.executable}\nfrom tng_compiler.cli import main\nmain()\n"
RUNTIME = f"#!{sys.executable}\nfrom tng_runtime.__main__ import main\nmain()\n"
ALONE = ["unshare", "--net", "--mount", "sh", "-c"]


@pytest.mark.netns
def test_a_document_is_compared_with_what_runs(tmp_path: Path) -> None:
    for name, program in (("tng", PROGRAM), ("tng-runtime", RUNTIME)):
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    for name, host in (("runs", "10.0.0.0/8"), ("narrower", "10.0.0.0/9")):
        (tmp_path / f"{name}.json").write_bytes(text(ingress({"capture_dst": {"host": host, "port": 8080}})))
    script = f"ip link set lo up && mount -t tmpfs none /run && exec {tmp_path}/tng apply {tmp_path}/runs.json 2>&1"
    with subprocess.Popen([*ALONE, script], stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout
            said = []
            for line in run.stdout:
                said.append(line)
                if "event=serving" in line:
                    break
            assert run.poll() is None, said

            def diff(name: str) -> subprocess.CompletedProcess[str]:
                inside = ["nsenter", "--target", str(run.pid), "--net", "--mount"]
                command = [*inside, str(tmp_path / "tng"), "diff", str(tmp_path / f"{name}.json"), "--live"]
                return subprocess.run(command, capture_output=True, text=True, check=False)

            same, other = diff("runs"), diff("narrower")
        finally:
            run.terminate()
    assert (same.returncode, same.stdout) == (0, "no difference: the same becomes of all traffic\n"), same.stderr
    assert "such as: ingress tcp to 10.128.0.1:8080" in other.stdout, other.stderr
