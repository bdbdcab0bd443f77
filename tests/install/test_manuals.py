"""Manuals and completions: from the help of both programs, and read by the programs that they are for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from package import completions, manuals, programs
from package.programs import Argument, Command, Option, Program

BOTH = [programs.compiler(), programs.runtime()]

SMALL = Program(
    "tng",
    "unused",
    (Option(("--version",), None, (), "Print the version and end."),),
    (
        Command(
            "check",
            "say what is wrong; .hidden files and C:\\ too",
            (Argument("CFG...", "files, or - for standard input"),),
            (Option(("-f", "--format"), "text|json", ("text", "json"), "How it's `written`."),),
        ),
    ),
)


@pytest.mark.parametrize("program", BOTH, ids=lambda program: program.name)
def test_a_manual_is_without_fault(program: Program, tmp_path: Path) -> None:
    path = tmp_path / f"{program.name}.{manuals.section(program)}"
    path.write_text(manuals.render(program, "0.1.0", "2026-11-24"))
    command = ["mandoc", "-T", "lint", "-W", "style", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    said = [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]
    assert said == []


@pytest.mark.parametrize("program", BOTH, ids=lambda program: program.name)
def test_a_manual_names_every_command_and_option(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "manual"
    path.write_text(manuals.render(program, "0.1.0", "2026-11-24"))
    command = ["mandoc", "-T", "ascii", "-O", "width=200", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    text = re.sub(".\b", "", text)  # bold is a letter, a step back, and the letter again
    for command_ in program.commands:
        assert f"{program.name} {command_.name}" in text
        assert all(name in text for option in command_.options for name in option.names)


def test_what_troff_would_read_otherwise_is_escaped() -> None:
    text = manuals.render(SMALL, "0.1.0", "2026-11-24")
    assert '.TH TNG 1 2026-11-24 "tng 0.1.0" "User Commands"\n' in text
    assert "\nSay what is wrong; \\&.hidden files and C:\\e too.\n" in text
    assert "\nHow it\\(aqs \\(gawritten\\(ga.\n" in text
    assert "\n\\fBtng check\\fR [\\fB\\-\\-format\\fR \\fItext|json\\fR] \\fICFG...\\fR\n" in text


def completed(program: Program, *words: str) -> set[str]:
    """What bash offers for the last of ``words``."""
    script = (
        f'{completions.bash(program)}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _{program.name.replace("-", "_")}'
    )
    command = ["bash", "-c", script + "\nprintf '%s\\n' \"${COMPREPLY[@]}\"", "bash", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes_commands_options_and_their_values() -> None:
    compiler, runtime = BOTH
    assert completed(compiler, "tng", "ch") == {"check"}
    assert completed(compiler, "tng", "compile", "--e") == {"--emit"}
    assert completed(compiler, "tng", "compile", "--emit", "ma") == {"manifest"}
    assert completed(compiler, "tng", "compile", "--emit", "=", "ma") == {"manifest"}
    assert completed(compiler, "tng", "check", "--format", "=") >= {"text", "sarif"}
    assert completed(compiler, "tng", "check", "x") == set(), "left to the completion of files"
    assert completed(runtime, "tng-runtime", "run", "--on-exit", "") == {"closed", "open"}
    assert completed(runtime, "tng-runtime", "") >= {"run", "guard", "down", "--version"}


def test_zsh_and_fish_are_offered_each_command_and_option() -> None:
    for program in BOTH:
        zsh, fish = completions.zsh(program), completions.fish(program)
        for command in program.commands:
            assert f"'{command.name}:" in zsh
            assert f"-a {command.name} -d " in fish
            for option in command.options:
                assert all(name in zsh for name in option.names)
                assert not option.value or all(f"{name}=" in zsh for name in option.names if name.startswith("--"))
                assert all(f" -{'l' if name[1] == '-' else 's'} {name.lstrip('-')}" in fish for name in option.names)
