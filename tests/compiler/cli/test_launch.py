"""``launch`` is ``apply`` in the words of the Rust TNG; a stand-in for the runtime says how it was called."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from compiler.cli.test_apply import GOOD, bin_, tng
from runtime.tunnels import CAPTURE, NO_RA
from tng_demo.lab import Lab

__all__ = ["bin_"]

STATE = re.compile(r"called: (.*)run --record=/var/lib/tng/tng/\S+ (?:--probe=\S+ )+(/run/tng/tng\.\d+)")
DOCUMENT = GOOD.decode()


def in_a_run_of_its_own(bin_: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With an empty /run and /var/lib, so that nothing is left on this machine."""
    script = 'mount -t tmpfs none /run && mount -t tmpfs none /var/lib && mkdir /run/tng && exec "$0" "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, str(bin_ / "tng"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.netns
@pytest.mark.parametrize("option", ["--config-file", "--config", "-c"])
def test_a_file_is_launched(bin_: Path, tmp_path: Path, option: str) -> None:
    (tmp_path / "config.json").write_bytes(GOOD)
    done = in_a_run_of_its_own(bin_, "launch", option, str(tmp_path / "config.json"), "--log-format", "json")
    assert (called := STATE.match(done.stdout)), done
    assert called[1] == "--log-format=json "


@pytest.mark.netns
def test_content_is_launched(bin_: Path) -> None:
    assert STATE.match(in_a_run_of_its_own(bin_, "launch", "--config-content", DOCUMENT).stdout)


def test_content_with_faults_is_shown_on_standard_error(bin_: Path) -> None:
    done = tng(bin_, "launch", "--config-content", "{}")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"<config-content>" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--config-file", "x", "--config-content", "{}")])
def test_one_document_is_launched_and_no_other_number(bin_: Path, arguments: tuple[str, ...]) -> None:
    done = tng(bin_, "launch", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"either --config-file FILE or --config-content TEXT" in done.stderr


@pytest.mark.netns
def test_a_launched_program_serves_and_a_signal_ends_it_with_0(hosts: Lab) -> None:
    document = json.dumps({"add_ingress": [{"netfilter": CAPTURE, **NO_RA}]})
    state = {"STATE_DIRECTORY": str(hosts["client"].state / "lib")}
    program = str(Path(sys.prefix) / "bin" / "tng")
    run = hosts["client"].start(program, "launch", "--config-content", document, env=state)
    run.wait_for(r"\bevent=serving\b")
    assert run.stop() == 0, run.output()
