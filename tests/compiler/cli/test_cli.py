"""The command line as people and scripts use it: exit codes, streams, files. In this process, for speed."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import tng_compiler.cli
from compiler.documents import ATTEST, EXAMPLES, VERIFY, egress, ingress, text
from tng_compiler.cli.exits import Exit

GOOD = text(ingress({"capture_dst": {"port": 8080}}))
BAD = text(ingress({"capture_dst": {"prot": 8080}}))
WEAK = text(ingress({"capture_dst": {"port": 8080}}, no_ra=True))

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``tng`` with arguments and standard input; return code, out and err."""

    def call(*arguments: str, stdin: bytes = b"") -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["tng", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        monkeypatch.setattr("gc.disable", lambda: None)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            tng_compiler.cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return SimpleNamespace(code=ended.value.code, out=out, err=err)

    return call


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a good, a bad and a weak document."""
    for name, data in (("good", GOOD), ("bad", BAD), ("weak", WEAK)):
        (tmp_path / f"{name}.json").write_bytes(data)
    return tmp_path


def test_check_is_silent_about_what_is_right(run: Run) -> None:
    result = run("check", *map(str, EXAMPLES))
    assert (result.code, result.err) == (Exit.CLEAN, "")
    *_, last, reminder = result.out.splitlines()
    assert last == f"ok: {len(EXAMPLES)} documents"
    assert "-105" in reminder


def test_check_reports_on_standard_output(run: Run, files: Path) -> None:
    result = run("check", str(files / "bad.json"))
    assert (result.code, result.err) == (Exit.FINDINGS, "")
    assert "error[TNG202]" in result.out
    assert "did you mean `port`?" in result.out


def test_warnings_alone_are_clean_unless_strict(run: Run, files: Path) -> None:
    assert run("check", str(files / "weak.json")).code == Exit.CLEAN
    assert run("check", "--strict", str(files / "weak.json")).code == Exit.FINDINGS


def test_notes_are_not_counted_as_warnings(run: Run) -> None:
    config = text(egress({"capture_dst": {"port": 8080}}, no_ra=True))
    result = run("check", "-", stdin=config)
    severities = re.findall(r"^(note|warning)\[", result.out, re.MULTILINE)
    assert sorted(severities) == ["note", "warning"]
    assert "1 warning and 1 note; `tng explain-code" in result.out
    summary = json.loads(run("check", "--format", "json", "-", stdin=config).out)["summary"]
    assert summary == {"errors": 0, "warnings": 1, "notes": 1}


def test_a_directory_is_all_its_documents(run: Run, files: Path) -> None:
    result = run("check", str(files), "--format", "json")
    assert result.code == Exit.FINDINGS
    found = json.loads(result.out)["diagnostics"]
    assert [Path(item["file"]).name for item in found] == ["bad.json", "weak.json"]


def test_standard_input_is_a_document(run: Run) -> None:
    assert run("check", "-", stdin=GOOD).code == Exit.CLEAN
    assert "<stdin>:1:1" in run("check", "-", stdin=b"").out


@pytest.mark.parametrize("format_", ["json", "github", "sarif"])
def test_formats_for_programs_are_alone_on_their_stream(run: Run, files: Path, format_: str) -> None:
    result = run("check", "--format", format_, str(files / "bad.json"))
    assert result.code == Exit.FINDINGS
    if format_ == "github":
        assert result.out.startswith("::error file=")
    else:
        assert json.loads(result.out)


@pytest.mark.parametrize("emit", ["nft", "guard", "manifest", "plan", "iptables", "diagram", "svg"])
def test_compile_writes_one_output(run: Run, files: Path, emit: str) -> None:
    result = run("compile", str(files / "good.json"), "--emit", emit)
    assert result.code == Exit.CLEAN
    assert ("note[TNG432]" in result.err) if emit == "iptables" else (result.err == "")
    assert result.out
    if emit == "manifest":
        assert json.loads(result.out)["manifest_version"] == 2


def test_compile_reports_on_standard_error_and_writes_nothing(run: Run, files: Path) -> None:
    result = run("compile", str(files / "good.json"), str(files / "bad.json"), "-o", str(files / "out"))
    assert (result.code, result.out) == (Exit.FINDINGS, "")
    assert "error[TNG202]" in result.err
    assert not (files / "out").exists()


def test_several_documents_are_told_apart(run: Run, files: Path) -> None:
    result = run("compile", str(files / "good.json"), str(files / "weak.json"))
    assert result.code == Exit.CLEAN
    assert [line for line in result.out.splitlines() if line.startswith("==> ")] == [
        f"==> {files / 'good.json'} <==",
        f"==> {files / 'weak.json'} <==",
    ]


def test_a_directory_holds_the_rules_and_their_manifest(run: Run, files: Path) -> None:
    out = files / "a" / "out"
    assert run("compile", str(files / "good.json"), "-o", str(out)).code == Exit.CLEAN
    assert sorted(path.name for path in out.iterdir()) == ["guard.nft", "manifest.json", "ruleset.nft"]
    first = (out / "ruleset.nft").read_bytes()
    assert run("compile", str(files / "good.json"), "-o", str(out)).code == Exit.CLEAN
    assert (out / "ruleset.nft").read_bytes() == first
    assert first.decode() == run("compile", str(files / "good.json")).out


def test_several_documents_get_a_directory_each(run: Run, files: Path) -> None:
    out = files / "out"
    assert run("compile", str(files / "good.json"), str(files / "weak.json"), "-o", str(out)).code == Exit.CLEAN
    assert sorted(path.name for path in out.iterdir()) == ["good", "weak"]
    (files / "b").mkdir()
    (files / "b" / "good.json").write_bytes(GOOD)
    result = run("compile", str(files / "good.json"), str(files / "b"), "-o", str(out))
    assert result.code == Exit.USAGE
    assert "several documents" in result.err


def test_a_failed_write_leaves_the_old_files_whole(run: Run, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = files / "out"
    run("compile", str(files / "good.json"), "-o", str(out))
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = run("compile", str(files / "weak.json"), "-o", str(out))
    assert result.code == Exit.USAGE
    assert "No space left" in result.err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_check_only_writes_nothing(run: Run, files: Path) -> None:
    result = run("compile", "--check-only", str(files / "good.json"), "-o", str(files / "out"))
    assert result.code == Exit.CLEAN
    assert not (files / "out").exists()


def test_an_egress_by_cgroup_is_refused_for_iptables_only(run: Run, files: Path) -> None:
    path = files / "cgroup.json"
    path.write_bytes(text(egress({"capture_dst": {"port": 1}, "capture_cgroup": "web.slice"})))
    assert run("compile", str(path)).code == Exit.CLEAN
    result = run("compile", str(path), "--emit", "iptables")
    assert (result.code, result.out) == (Exit.FINDINGS, "")
    assert "iptables" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["check", "missing.json"],
        ["check", "--format", "xml", "-"],
        ["compile", "-", "--emit", "pf"],
        ["compile", "-", "--emit", "nft", "-o", "x"],
        ["frobnicate"],
        ["check", "a\x00b"],
        ["explain-code", "TNG999"],
    ],
)
def test_wrong_usage_is_two(run: Run, arguments: list[str]) -> None:
    result = run(*arguments, stdin=GOOD)
    assert result.code == Exit.USAGE
    assert result.err


def test_an_empty_directory_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    assert run("check", str(tmp_path)).code == Exit.USAGE


def test_the_schema_is_printed_for_editors(run: Run) -> None:
    schema = json.loads(run("schema").out)
    assert schema["$id"] == "urn:tng:config:1"


def test_codes_are_explained_in_any_case(run: Run) -> None:
    assert run("explain-code", "tng304").out.startswith("TNG304: Not an address")
    assert "TNG202  " in run("explain-code").out


def test_a_bug_of_ours_is_called_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("the plan contradicts itself")

    monkeypatch.setattr("tng_compiler.pipeline.verify", broken)
    result = run("check", "-", stdin=GOOD)
    assert result.code == Exit.USAGE
    assert "this is a bug in tng" in result.err
    assert "RuntimeError" in result.err


@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        (">/dev/full", Exit.USAGE),
        (">&-", Exit.CLEAN),
        ("<&-", Exit.FINDINGS),
        ("</dev/zero", Exit.FINDINGS),
        ("--no-such 2>/dev/full", Exit.USAGE),
        ("nowhere.json 2>/dev/full", Exit.USAGE),
    ],
)
def test_strange_streams_are_no_bug_of_ours(files: Path, redirection: str, code: Exit) -> None:
    argument = "-" if "<" in redirection else str(files / "good.json")
    program = f"{sys.executable} -c 'from tng_compiler.cli import main; main()' check {argument} {redirection}"
    result = subprocess.run(program, shell=True, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == code, result.stderr
    assert "bug in tng" not in result.stderr
    assert "Traceback" not in result.stderr


def test_the_version_names_both_programs_and_their_openssl(run: Run) -> None:
    compiler, runtime = run("--version").out.splitlines()
    assert re.fullmatch(r"tng \S+ \(Python \S+, OpenSSL \S+\)", compiler)
    assert re.fullmatch(r"tng-runtime \S+ \(Python \S+, OpenSSL \S+ of cryptography \S+\)", runtime)


def test_both_roles_in_one_document_compile(run: Run) -> None:
    both = {
        **ingress({"capture_dst": {"port": 1}}, attest=ATTEST, verify=VERIFY),
        **egress({"capture_dst": {"port": 2}}),
    }
    assert run("check", "-", stdin=text(both)).code == Exit.CLEAN


def test_without_the_compilers_packages_it_says_how_to_get_them() -> None:
    """A host of the runtime alone has ``tng`` too, because both programs come in one wheel."""
    program = "import sys; sys.modules['typer'] = None; from tng_compiler.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout) == (Exit.HOST_NOT_READY, "")
    assert "pip install 'tng[compiler]'" in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        "apply DIR",
        "doctor DIR",
        "explain DIR tcp",
        "find DIR tcp",
        "compile --keep -o out DIR",
        "systemd DIR",
        "diff DIR --live",
        "diff FILE FILE --expect DIR",
    ],
)
def test_a_directory_is_not_one_document(run: Run, files: Path, command: str) -> None:
    words = [{"DIR": str(files), "FILE": str(files / "good.json")}.get(word, word) for word in command.split()]
    done = run(*words)
    assert (done.code, done.out) == (Exit.USAGE, "")
    assert f"{files} is a directory" in done.err
    assert "takes one document" in done.err
