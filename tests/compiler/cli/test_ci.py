"""The example workflow and the hook, run as far as they can be here: their own lines, in a real repository."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from compiler.documents import VERIFY, ingress, text

ROOT = Path(__file__).parents[3]
WORKFLOW = (ROOT / "examples/ci/review-traffic.yml").read_text()
CHECK = (ROOT / "examples/ci/check.yml").read_text()
PAGE = (ROOT / "docs/ci.md").read_text()
HOOKS = (ROOT / ".pre-commit-hooks.yaml").read_text()
WIDE = ingress({"capture_dst": {"host": "10.0.0.0/8", "port": 443}})
NARROW = ingress({"capture_dst": {"host": "10.0.0.0/9", "port": 443}})
OTHER = ingress({"capture_dst": {"host": "10.0.0.0/8", "port": 443}}, verify={**VERIFY, "policy_ids": ["new"]})


def script(step: str, workflow: str = WORKFLOW) -> str:
    """The lines of a step of a workflow."""
    found = re.search(rf"- name: {step}\n(?:        .*\n)*?        run: \|\n((?:          .*\n)+)", workflow)
    assert found, step
    return found[1].replace("\n          ", "\n").strip()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What GitHub sets, and a PATH with the ``tng`` of this tree."""
    binary = tmp_path / "bin" / "tng"
    binary.parent.mkdir()
    binary.write_text(f"#!{sys.executable}\nfrom tng_compiler.cli import main\nmain()\n")
    binary.chmod(0o755)
    return {
        "PATH": f"{binary.parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("compiler", "schema")),
        "HOME": str(tmp_path),
        "GITHUB_BASE_REF": "main",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }


def repository(tmp_path: Path, environment: dict[str, str], before: object, after: object) -> Path:
    """A clone that has checked out a change of ``main``."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    name = ["-c", "user.name=x", "-c", "user.email=x@example"]
    git = ["git", "-C", str(origin), *name]
    (origin / "tng").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "-b", "main", origin], check=True, env=environment)
    (origin / "tng/host.json").write_bytes(text(before))
    subprocess.run([*git, "add", "."], check=True, env=environment)
    subprocess.run([*git, "commit", "-qm", "before"], check=True, env=environment)
    subprocess.run(["git", "clone", "-q", origin, clone], check=True, env=environment)
    (clone / "tng/host.json").write_bytes(text(after))
    return clone


def run(
    step: str, directory: Path, environment: dict[str, str], workflow: str = WORKFLOW
) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does (``bash -e``)."""
    command = ["bash", "-e", "-o", "pipefail", "-c", script(step, workflow)]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


def test_a_change_that_loses_protection_is_commented_and_refused(tmp_path: Path, environment: dict[str, str]) -> None:
    clone = repository(tmp_path, environment, WIDE, NARROW)
    assert run("Compile", clone, environment).returncode == 0
    compared = run("Compare", clone, environment)
    assert compared.returncode == 0, compared.stderr
    assert "Loses protection" in (tmp_path / "summary.md").read_text()
    refused = run("Refuse", clone, environment)
    assert refused.returncode == 1
    assert "::error file=tng/host.json" in refused.stdout
    (clone / "traffic.json").rename(clone / "traffic-expected.json")
    assert run("Refuse", clone, environment).returncode == 0


def test_a_change_that_loses_nothing_passes(tmp_path: Path, environment: dict[str, str]) -> None:
    clone = repository(tmp_path, environment, WIDE, OTHER)
    assert run("Compare", clone, environment).returncode == 0
    assert json.loads((clone / "traffic.json").read_text())["documents"][0]["changes"]
    assert run("Refuse", clone, environment).returncode == 0


def test_documents_are_checked_in_each_push_as_the_page_says(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "tng").mkdir()
    for document, code in ((WIDE, 0), ({}, 1)):
        (tmp_path / "tng/host.json").write_bytes(text(document))
        assert run("Report", tmp_path, environment, CHECK).returncode == 0
        (found,) = json.loads((tmp_path / "tng.sarif").read_text())["runs"]
        assert bool(found["results"]) is bool(code)
        assert found["tool"]["driver"]["informationUri"].startswith("https://")
        checked = run("Check", tmp_path, environment, CHECK)
        assert checked.returncode == code
        assert ("::error file=tng/host.json" in checked.stdout) is bool(code)
        for command in re.findall(r"^\$ (tng .*)$", PAGE, re.MULTILINE):
            done = subprocess.run(shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, check=False)
            assert done.returncode == code, (command, done)


def test_the_page_names_the_hook_that_is_there() -> None:
    ids = set(re.findall(r"- id: (\S+)", PAGE))
    assert ids == set(re.findall(r"^- id: (\S+)", HOOKS, re.MULTILINE))
    pattern = re.search(r"files: (\S+)", PAGE)
    assert pattern
    assert re.search(pattern[1], "tng/host.json")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"rev: v{version}" in PAGE


def test_the_hook_checks_the_files_that_it_is_given(tmp_path: Path, environment: dict[str, str]) -> None:
    entry = re.search(r"entry: (.*)", HOOKS)
    assert entry
    (tmp_path / "good.json").write_bytes(text(WIDE))
    (tmp_path / "bad.json").write_bytes(b"{}")
    for names, code in ((["good.json"], 0), (["good.json", "bad.json"], 1)):
        command = [*shlex.split(entry[1]), *names]
        assert subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True).returncode == code


def test_the_hook_installs_what_the_compiler_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.search(r"additional_dependencies: (\[.*\])", HOOKS)
    assert named
    assert json.loads(named[1]) == project["optional-dependencies"]["compiler"]
