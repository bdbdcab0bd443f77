"""``tng diff`` as people and CI use it: formats, exit statuses, directories, and the run that is alive."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

from compiler.documents import VERIFY, ingress, text
from tng_compiler.cli.app import app
from tng_compiler.cli.exits import Exit
from tng_compiler.cli.live import live_document
from tng_compiler.cli.outputs import write_directory
from tng_compiler.pipeline import compile_bytes

STRICT = {**VERIFY, "policy_ids": ["default", "strict"]}
OLD = {
    "add_ingress": [
        {"netfilter": {"capture_dst": [{"host": "10.0.0.0/8"}, {"ipset": "office", "port": 443}]}, "verify": STRICT},
        {"netfilter": {"capture_dst": {"port": 5432}, "capture_cgroup": ["/app.slice"]}, "verify": VERIFY},
    ]
}
NEW = {
    "add_ingress": [
        {"netfilter": {"capture_dst": [{"host": "10.0.0.0/9"}, {"ipset": "office", "port": 443}]}, "verify": STRICT},
        {
            "netfilter": {
                "capture_dst": {"port": 5432},
                "capture_cgroup": ["/app.slice"],
                "nocapture_cgroup": ["/app.slice/backup.service"],
            },
            "verify": {**VERIFY, "policy_ids": ["database"]},
        },
    ]
}


FILTERS = [{"domain": "*.example.com", "port": 443}, {"ip_cidr": "10.0.0.0/8"}]
OLD_DOORS = {
    "add_ingress": [
        {
            "http_proxy": {"proxy_listen": {"host": "127.0.0.1", "port": 41000}, "dst_filters": FILTERS},
            "verify": STRICT,
        },
        {"socks5": {"proxy_listen": {"host": "127.0.0.1", "port": 1080}}, "verify": VERIFY},
        {
            "mapping": {
                "in": {"host": "127.0.0.1", "port": 10001, "port_end": 10009},
                "out": {"host": "192.0.2.1", "port": 20001, "port_end": 20009},
            },
            "verify": VERIFY,
        },
    ]
}
NEW_DOORS = {
    "add_ingress": [
        {
            "http_proxy": {
                "proxy_listen": {"host": "127.0.0.1", "port": 41000},
                "dst_filters": FILTERS[:1],
                "unmatched": "direct",
            },
            "verify": VERIFY,
        },
        {"socks5": {"proxy_listen": {"host": "127.0.0.1", "port": 1081}}, "verify": VERIFY},
        {
            "mapping": {
                "in": {"host": "127.0.0.1", "port": 10001, "port_end": 10004},
                "out": {"host": "db.example", "port": 20001, "port_end": 20004},
            },
            "verify": VERIFY,
        },
    ]
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory, which is the current one, with a document before and after a change."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.json").write_bytes(text(OLD))
    (tmp_path / "new.json").write_bytes(text(NEW))
    return tmp_path


def tng(*arguments: str) -> Result:
    """Run ``tng``."""
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("format_", "suffix"), [("text", "txt"), ("json", "json"), ("markdown", "md"), ("github", "github.txt")]
)
def test_what_people_and_programs_read(files: Path, golden: SnapshotAssertion, format_: str, suffix: str) -> None:
    result = tng("diff", "old.json", "new.json", "--format", format_)
    assert result.exit_code == Exit.CLEAN
    assert result.stdout == golden(name=f"diff/review.{suffix}")


@pytest.mark.parametrize(
    ("format_", "suffix"), [("text", "txt"), ("json", "json"), ("markdown", "md"), ("github", "github.txt")]
)
def test_what_becomes_of_doors(files: Path, golden: SnapshotAssertion, format_: str, suffix: str) -> None:
    (files / "old.json").write_bytes(text(OLD_DOORS))
    (files / "new.json").write_bytes(text(NEW_DOORS))
    result = tng("diff", "old.json", "new.json", "--format", format_)
    assert result.stdout == golden(name=f"diff/doors.{suffix}")
    assert tng("diff", "old.json", "new.json", "--fail-on", "unprotected").exit_code == Exit.FINDINGS
    (files / "expected.json").write_text(tng("diff", "old.json", "new.json", "--format", "json").stdout)
    assert tng("diff", "old.json", "new.json", "--expect", "expected.json").exit_code == Exit.CLEAN
    result = tng("diff", "new.json", "old.json", "--expect", "expected.json")
    assert result.exit_code == Exit.FINDINGS
    assert "not expected: ingress http_proxy on 127.0.0.1 port 41000" in result.stderr
    assert tng("diff", "new.json", "old.json", "--fail-on", "unprotected").exit_code == Exit.CLEAN


def test_one_meaning_is_no_difference(files: Path) -> None:
    result = tng("diff", "old.json", "old.json", "--fail-on", "any")
    assert (result.exit_code, result.stdout) == (0, "no difference: the same becomes of all traffic\n")


def test_fail_on_unprotected_fails_on_nothing_less(files: Path) -> None:
    assert tng("diff", "old.json", "new.json", "--fail-on", "unprotected").exit_code == Exit.FINDINGS
    (files / "more.json").write_bytes(
        text({"add_ingress": [*OLD["add_ingress"], {"netfilter": {"capture_dst": {"port": 25}}, "verify": VERIFY}]})
    )
    assert tng("diff", "old.json", "more.json", "--fail-on", "unprotected").exit_code == Exit.CLEAN
    assert tng("diff", "old.json", "more.json", "--fail-on", "any").exit_code == Exit.FINDINGS


def test_only_expected_changes_are_allowed(files: Path) -> None:
    (files / "expected.json").write_text(tng("diff", "old.json", "new.json", "--format", "json").stdout)
    both = ("--expect", "expected.json", "--fail-on", "unprotected")
    assert tng("diff", "old.json", "new.json", *both).exit_code == Exit.CLEAN
    assert tng("diff", "old.json", "old.json", *both).exit_code == Exit.CLEAN
    wider = json.loads(json.dumps(NEW).replace("10.0.0.0/9", "10.0.0.0/10"))
    (files / "new.json").write_bytes(text(wider))
    result = tng("diff", "old.json", "new.json", "--expect", "expected.json")
    assert result.exit_code == Exit.FINDINGS
    assert "not expected: ingress tcp to" in result.stderr
    (files / "expected.json").write_text("[]")
    assert tng("diff", "old.json", "new.json", "--expect", "expected.json").exit_code == Exit.USAGE


def test_a_directory_is_a_fleet(files: Path) -> None:
    for name in ("before", "after"):
        (files / name).mkdir()
        (files / name / "web.json").write_bytes(text(OLD))
    (files / "before" / "gone.json").write_bytes(text(OLD))
    (files / "after" / "new.json").write_bytes(text(OLD))
    result = tng("diff", "before", "after")
    assert [line for line in result.stdout.splitlines() if line.startswith("==>")] == [
        "==> gone.json <==", "==> new.json <==",
    ]  # fmt: skip
    assert result.stdout.endswith("\nno difference: the same becomes of all traffic, in 1 document\n")
    assert tng("diff", "before", "old.json").exit_code == Exit.USAGE


def test_a_change_is_expected_of_the_document_that_it_was_reviewed_in(files: Path) -> None:
    for side, change in (("before", OLD), ("after", NEW)):
        (files / side).mkdir()
        (files / side / "web.json").write_bytes(text(change))
        (files / side / "db.json").write_bytes(text(OLD))
    (files / "expected.json").write_text(tng("diff", "before", "after", "--format", "json").stdout)
    assert tng("diff", "before", "after", "--expect", "expected.json").exit_code == Exit.CLEAN
    (files / "after" / "db.json").write_bytes(text(NEW))
    result = tng("diff", "before", "after", "--expect", "expected.json")
    assert result.exit_code == Exit.FINDINGS
    assert {line.split(":")[1] for line in result.stderr.splitlines()} == {" db.json"}
    assert tng("diff", "old.json", "new.json", "--expect", "expected.json").exit_code == Exit.CLEAN


def test_another_mark_is_allowed_only_if_it_is_expected(files: Path) -> None:
    document = ingress({"capture_dst": {"port": 80}, "so_mark": 700})
    (files / "old.json").write_bytes(text(ingress({"capture_dst": {"port": 80}})))
    (files / "new.json").write_bytes(text(document))
    (files / "nothing.json").write_text(tng("diff", "old.json", "old.json", "--format", "json").stdout)
    (files / "mark.json").write_text(tng("diff", "old.json", "new.json", "--format", "json").stdout)
    result = tng("diff", "old.json", "new.json", "--expect", "nothing.json")
    assert result.exit_code == Exit.FINDINGS
    assert "not expected: so_mark 565 -> 700" in result.stderr
    both = ("--expect", "mark.json", "--fail-on", "any")
    assert tng("diff", "old.json", "new.json", *both).exit_code == Exit.CLEAN


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '{"documents": 1}', '{"documents": [{"name": []}]}'])
def test_an_expectation_that_is_none_is_usage(files: Path, content: str) -> None:
    (files / "expected.json").write_text(content)
    result = tng("diff", "old.json", "new.json", "--expect", "expected.json")
    assert result.exit_code == Exit.USAGE
    assert "is not a report of `tng diff --format json`" in result.stderr


@pytest.mark.parametrize("format_", ["text", "json", "markdown", "github"])
def test_directories_without_documents_are_usage(files: Path, format_: str) -> None:
    for name in ("before", "after"):
        (files / name).mkdir()
    result = tng("diff", "before", "after", "--format", format_)
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    (files / "after" / "new.json").write_bytes(text(OLD))
    assert tng("diff", "before", "after", "--format", format_).exit_code == Exit.CLEAN


def test_the_name_of_a_file_writes_no_lines_of_its_own(files: Path) -> None:
    name = "a\n::error::b\n\n# c <b>\x1b[31m.json"
    for side, change in (("before", OLD), ("after", NEW)):
        (files / side).mkdir()
        (files / side / name).write_bytes(text(change))
    for format_ in ("text", "markdown", "github"):
        result = tng("diff", "before", "after", "--format", format_, "--fail-on", "any")
        lines = (result.stdout + result.stderr).splitlines()
        assert not [line for line in lines if line.startswith(("::error::", "#")) and line != lines[0]]
        assert "<b>" not in result.stdout or format_ != "markdown"
    (files / "after" / name).unlink()
    (files / "after" / name).mkdir()
    result = tng("diff", "before", "after")
    assert (result.exit_code, len(result.stderr.splitlines())) == (Exit.USAGE, 1)


def test_a_document_with_faults_is_not_compared(files: Path) -> None:
    (files / "new.json").write_bytes(b"{}")
    result = tng("diff", "old.json", "new.json")
    assert (result.exit_code, result.stdout) == (Exit.FINDINGS, "")
    assert "TNG209" in result.stderr


def test_usage_is_two_documents_or_one_and_live(files: Path) -> None:
    assert tng("diff", "old.json").exit_code == Exit.USAGE
    assert tng("diff", "old.json", "new.json", "--live").exit_code == Exit.USAGE


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """A directory of locks, and in it the documents and the lock of a process that is alive."""
    locks = tmp_path / "run"
    directory = locks / "tng.1"
    plan = compile_bytes("x", text(OLD)).plan
    assert plan
    write_directory(plan, directory, config=text(OLD))
    command = ["sh", "-c", "echo ready; read forever", "run", str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # the kernel shows its arguments from then on
        namespace = Path("/proc/self/ns/net").stat().st_ino
        (locks / f"tng.{namespace}.lock").write_text(f"{process.pid}\n")
        yield locks
        process.communicate()


def test_the_run_that_is_alive_is_found_by_its_lock(running: Path) -> None:
    assert live_document("tng", running) == text(OLD)


def test_a_configuration_that_is_not_the_manifests_is_refused(running: Path) -> None:
    (running / "tng.1" / "config.json").write_bytes(text(NEW))
    with pytest.raises(SystemExit) as ended:
        live_document("tng", running)
    assert ended.value.code == Exit.HOST_NOT_READY


def test_nothing_that_runs_is_a_host_that_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        live_document("tng", tmp_path)
    assert ended.value.code == Exit.HOST_NOT_READY
