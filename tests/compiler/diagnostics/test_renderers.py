"""The same diagnostics for people, for programs, for GitHub and for SARIF."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tng_compiler.diagnostics import render_github, render_json, render_sarif, render_text
from tng_compiler.diagnostics.located import Located
from tng_compiler.pipeline import compile_bytes

CASE = Path(__file__).parents[1] / "refused" / "newcomer_five_mistakes.json"


@pytest.fixture
def found() -> tuple[Located, ...]:
    return compile_bytes("client,a.json", CASE.read_bytes()).found


def test_json_reads_as_its_golden(found: tuple[Located, ...], golden: SnapshotAssertion) -> None:
    text = render_json.render(found)
    assert text == golden(name="formats/newcomer.json")
    places = json.loads(text)["diagnostics"]
    source = CASE.read_text("utf-8")
    for item in places:
        shown = source[item["offset"] : item["offset"] + item["length"]]
        assert source.splitlines()[item["line"] - 1][item["column"] - 1 :].startswith(shown.splitlines()[0])


def test_github_commands_are_one_line_each(found: tuple[Located, ...], golden: SnapshotAssertion) -> None:
    text = render_github.render(found)
    assert text == golden(name="formats/newcomer.github.txt")
    assert len(text.splitlines()) == len(found)
    assert all(line.startswith("::error file=client%2Ca.json,line=") for line in text.splitlines())


def test_sarif_reads_as_its_golden(found: tuple[Located, ...], golden: SnapshotAssertion) -> None:
    text = render_sarif.render(found)
    assert text == golden(name="formats/newcomer.sarif.json")
    (run,) = json.loads(text)["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert run["columnKind"] == "unicodeCodePoints"
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    assert run["tool"]["driver"]["informationUri"] == project["urls"]["Homepage"]
    assert all(f"tng explain-code {rule['id']}" in rule["help"]["text"] for rule in rules)


def test_nothing_to_say_is_a_document_too() -> None:
    assert render_text.render(()) == ""
    assert render_github.render(()) == ""
    assert json.loads(render_json.render(()))["diagnostics"] == []
    assert json.loads(render_sarif.render(()))["runs"][0]["results"] == []


def test_colour_only_adds_escapes(found: tuple[Located, ...]) -> None:
    plain, coloured = render_text.render(found), render_text.render(found, colour=True)
    assert "\x1b" not in plain
    for code in ("\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"):
        assert code in coloured
        coloured = coloured.replace(code, "")
    assert [line.rstrip() for line in coloured.splitlines()] == [line.rstrip() for line in plain.splitlines()]


@pytest.mark.parametrize(
    ("text", "line", "mark"),
    [
        ('{"é": 1, "é": 2}', '1 | {"é": 1, "é": 2}', "  |          ^^^"),
        ('{"東": 1, "東": 2}', '1 | {"東": 1, "東": 2}', "  |           ^^^^"),
        ('{\t"a": 1, "a": 2}', '1 | { "a": 1, "a": 2}', "  |           ^^^"),
    ],
)
def test_carets_stand_under_wide_characters_and_tabs(text: str, line: str, mark: str) -> None:
    shown = render_text.render(compile_bytes("x", text.encode()).found[-1:]).splitlines()
    assert line in shown
    assert mark in shown


def test_a_line_of_a_megabyte_is_shown_in_part() -> None:
    document = b'{"add_ingress": [' + b" " * 1_000_000 + b"1]}"
    (item,) = compile_bytes("x", document).found
    assert max(len(line) for line in render_text.render([item]).splitlines()) < 120


def test_file_names_cannot_drive_a_terminal() -> None:
    text = render_text.render(compile_bytes("a\x1b[2Jb\n.json", b"").found)
    assert "\x1b" not in text
    assert "a\\u001b[2Jb\\n.json:1:1" in text
