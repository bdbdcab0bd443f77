"""``apply`` becomes the runtime, a program of its own: real processes, with a stand-in that says how it was called."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from compiler.documents import ingress, text

GOOD = text(ingress({"capture_dst": {"port": 8080}}))
RECORDER = '#!/bin/sh\necho "called: $@"\nfor last; do :; done\ncd "$last" 2>&- && echo *\nexit 7\n'


@pytest.fixture
def bin_(tmp_path: Path) -> Path:
    """A directory with a ``tng`` of this tree and a ``tng-runtime`` that records its call."""
    directory = tmp_path / "bin"
    directory.mkdir()
    program = f"#!{sys.executable}\nfrom tng_compiler.cli import main\nmain()\n"
    for name, script in (("tng", program), ("tng-runtime", RECORDER)):
        (directory / name).write_text(script)
        (directory / name).chmod(0o755)
    return directory


def tng(bin_: Path, *arguments: str, stdin: bytes = GOOD, path: str = "/nowhere") -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": path, "STATE_DIRECTORY": str(bin_.parent / "lib")}
    return subprocess.run(
        [bin_ / "tng", *arguments], input=stdin, capture_output=True, check=False, env=environment, timeout=60
    )


def called(result: subprocess.CompletedProcess[bytes]) -> str:
    """How the runtime was called, without the record, whose name has the time in it."""
    return re.sub(r" --(record|probe)=\S*", "", result.stdout.decode().splitlines()[0])


def test_apply_compiles_into_a_private_directory_and_executes_the_runtime(bin_: Path, tmp_path: Path) -> None:
    state = tmp_path / "run" / "tng"
    result = tng(bin_, "apply", "-", "--state-dir", str(state))
    assert called(result) == f"called: run {state}"
    assert result.stdout.decode().splitlines()[1] == "config.json guard.nft manifest.json ruleset.nft"
    assert result.returncode == 7
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_options_behind_two_dashes_are_the_runtimes(bin_: Path, tmp_path: Path) -> None:
    result = tng(bin_, "apply", "-", "--state-dir", str(tmp_path / "state"), "--", "--drain", "5")
    assert called(result) == f"called: run --drain 5 {tmp_path / 'state'}"
    assert tng(bin_, "apply", "-", "--stict").returncode == 2


@pytest.mark.parametrize("command", ["apply -", "rollback"])
def test_a_second_document_is_none_of_the_runtimes_options(bin_: Path, tmp_path: Path, command: str) -> None:
    result = tng(bin_, *command.split(), "other.json")
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"unexpected extra argument (other.json)" in result.stderr
    assert not (tmp_path / "lib").exists()


@pytest.mark.parametrize("seconds", ["0", "nan", "inf", "soon", "9999999999"])
def test_seconds_that_nobody_can_wait_for_are_refused(bin_: Path, tmp_path: Path, seconds: str) -> None:
    result = tng(bin_, "apply", "-", "--confirm", seconds)
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"--confirm" in result.stderr
    assert not (tmp_path / "lib").exists()


def test_signals_wait_until_the_runtime_can_answer_them(bin_: Path, tmp_path: Path) -> None:
    program = f"#!{sys.executable}\nimport signal\nprint(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))\n"
    (bin_ / "tng-runtime").write_text(program)
    told = tng(bin_, "apply", "-", "--state-dir", str(tmp_path / "state")).stdout
    assert {signal.SIGHUP, signal.SIGINT, signal.SIGTERM} <= {int(number) for number in told.split()}


def test_options_of_the_runtime_need_no_dashes(bin_: Path, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    result = tng(bin_, "apply", "--log-level", "debug", "-", "--drain", "30", "--state-dir", state)
    assert called(result) == f"called: --log-level=debug run --drain=30 {state}"


def test_apply_takes_each_option_that_the_runtime_has() -> None:
    programs = Path(sys.prefix) / "bin"
    told = [
        subprocess.run([programs / name, *arguments], capture_output=True, text=True, check=True, timeout=60).stdout
        for name, arguments in (
            ("tng-runtime", ["--help"]),
            ("tng-runtime", ["run", "--help"]),
            ("tng", ["apply", "-h"]),
        )
    ]
    of_all, of_run, of_apply = (set(re.findall(r"--[a-z-]+", text)) for text in told)
    assert of_all | of_run <= of_apply | {"--version", "--record", "--probe"}


def test_apply_executes_nothing_for_a_document_with_faults(bin_: Path, tmp_path: Path) -> None:
    result = tng(bin_, "apply", "-", "--state-dir", str(tmp_path / "state"), stdin=b"{}")
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"TNG209" in result.stderr
    assert not (tmp_path / "state").exists()


def test_a_missing_runtime_is_a_host_that_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tng_compiler.cli.runtime import find_runtime

    monkeypatch.setattr(sys, "argv", [str(tmp_path / "tng")])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    with pytest.raises(SystemExit) as ended:
        find_runtime()
    assert ended.value.code == 3
    assert "tng-runtime was not found" in capsys.readouterr().err
    for directory in (tmp_path / "path", tmp_path):
        directory.mkdir(exist_ok=True)
        (directory / "tng-runtime").write_text("#!/bin/sh\n")
        (directory / "tng-runtime").chmod(0o755)
        assert find_runtime() == directory / "tng-runtime"


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_directory_that_others_can_write_to_is_refused(bin_: Path, tmp_path: Path, mode: int) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)
    result = tng(bin_, "apply", "-", "--state-dir", str(state))
    assert (result.returncode, result.stdout) == (3, b"")
    assert b"not ours alone" in result.stderr
    assert list(state.iterdir()) == []


def test_a_parent_that_others_can_write_to_is_refused_and_one_like_tmp_is_not(bin_: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    for mode, status in ((0o777, 3), (0o1777, 7)):
        parent.chmod(mode)
        result = tng(bin_, "apply", "-", "--state-dir", str(parent / "state"))
        assert result.returncode == status, result.stderr
        assert (str(parent).encode() in result.stderr) == (status == 3)


def test_a_link_instead_of_the_directory_is_refused(bin_: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to(tmp_path / "target")
    result = tng(bin_, "apply", "-", "--state-dir", str(tmp_path / "state"))
    assert result.returncode == 3
    assert os.listdir(tmp_path / "target") == []


def test_down_hands_its_arguments_on(bin_: Path) -> None:
    result = tng(bin_, "down", "--table", "tng_a")
    assert result.stdout.decode().splitlines()[0] == "called: down --table tng_a"
    assert result.returncode == 7


def test_down_needs_none_of_the_compilers_packages(bin_: Path) -> None:
    program = "import sys\nsys.modules['typer'] = None\nfrom tng_compiler.cli import main\nmain()\n"
    (bin_ / "tng").write_text(f"#!{sys.executable}\n{program}")
    assert tng(bin_, "down", "--table", "tng_a").stdout == b"called: down --table tng_a\n"
    assert tng(bin_, "check", "-").returncode == 3
