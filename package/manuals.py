"""Manual pages, from the same text as ``--help``; what no help says (files, exit codes) stands here. See man(7)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from package.programs import Command, Option, Program

_EXITS = (
    ("0", "clean"),
    ("1", "a document is wrong; what is wrong was said"),
    ("2", "wrong usage, or a bug of ours"),
    ("3", "the host is not ready; what to do was said"),
)
_ENVIRONMENT = (
    ("TNG_LOG_FORMAT", "how the runtime writes its log on standard error: text or json"),
    ("TNG_LOG_LEVEL", "the least important events that it writes: debug, info, warning or error"),
)
_FILES = (
    ("/etc/tng/NAME.json", "the document of the instance that tng@NAME.service runs"),
    ("/var/lib/tng/NAME", "what was compiled from it: manifest.json, ruleset.nft and guard.nft"),
    ("/run/tng", "locks of the runs, and what `tng apply` compiled"),
)
_ABOUT = {
    "tng": (
        "1",
        "compile and run an attested transparent proxy",
        "The kernel hands the TCP of unmodified programs to a pair of gateways, and the gateways carry it over TLS 1.3 "
        "in which the server side proves what code it runs before one byte of the application's flows. One JSON "
        "document for a host says what is captured and who proves what to whom. However the runtime ends, its rules "
        "stay and refuse what they capture, until `tng down`.",
        ("tng-runtime(8)", "nft(8)", "systemd.unit(5)"),
    ),
    "tng-runtime": (
        "8",
        "load the rules of an attested transparent proxy, and serve",
        "It executes a directory that `tng compile -o DIR` wrote, without the compiler. SIGINT and SIGTERM let open "
        "connections end, a second one ends them at once; SIGHUP starts the program again with the same arguments, and "
        "the new process takes over without a connection lost. A run that finds another of its table takes over from "
        "it, too. However it ends, its rules stay and refuse what they capture, until `tng-runtime down`.",
        ("tng(1)", "nft(8)", "systemd.unit(5)"),
    ),
}


def section(program: Program) -> str:
    """Of the manual that ``program`` is in."""
    return _ABOUT[program.name][0]


def render(program: Program, version: str, date: str) -> str:
    """The manual of ``program`` in the language of man(7); ``date`` is YYYY-MM-DD."""
    number, summary, description, others = _ABOUT[program.name]
    book = {"1": "User Commands", "8": "System Administration"}[number]
    lines = [f'.TH {program.name.upper()} {number} {date} "tng {version}" "{book}"']
    lines += [".SH NAME", f"{_text(program.name)} \\- {_text(summary)}", ".SH SYNOPSIS"]
    for place, command in enumerate(program.commands):
        lines += [".br"] * bool(place) + _synopsis(program.name, command)
    lines += [".SH DESCRIPTION", _prose(description), ".SH OPTIONS", *_options(program.options), ".SH COMMANDS"]
    for command in program.commands:
        lines += [f'.SS "{_text(" ".join((command.name, *(each.name for each in command.arguments))))}"']
        lines += [_prose(_sentence(command.help))]
        lines += _pairs((each.name, each.help) for each in command.arguments if each.help)
        lines += _options(each for each in command.options if "--help" not in each.names)
    for heading, pairs in (("EXIT STATUS", _EXITS), ("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        lines += [f".SH {heading}", *_pairs(pairs)]
    references = [re.sub(r"(.+)\((\d)\)", r".BR \1 (\2)", each).replace("-", "\\-") for each in others]
    lines += [".SH SEE ALSO", *(f"{each} ," for each in references[:-1]), references[-1]]
    return "\n".join(lines) + "\n"


def _synopsis(program: str, command: Command) -> list[str]:
    words = [f"\\fB{_text(program)} {_text(command.name)}\\fR", *(f"[{_written(each)}]" for each in _own(command))]
    words += [f"\\fI{_text(each.name)}\\fR" for each in command.arguments]
    return [" ".join(words)]


def _own(command: Command) -> list[Option]:
    return [each for each in command.options if "--help" not in each.names]


def _written(option: Option) -> str:
    value = f" \\fI{_text(option.value)}\\fR" if option.value else ""
    return f"\\fB{_text(option.names[-1])}\\fR{value}"


def _options(options: Iterable[Option]) -> list[str]:
    lines = []
    for option in options:
        names = ", ".join(f"\\fB{_text(name)}\\fR" for name in option.names)
        value = f" \\fI{_text(option.value)}\\fR" if option.value else ""
        lines += [".TP", names + value, _prose(_sentence(option.help))]
    return lines


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [line for term, text in pairs for line in (".TP", f"\\fB{_text(term)}\\fR", _prose(_sentence(text)))]


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    first = text.split(" ", 1)[0]
    # A name such as manifest.json is written as it is.
    text = text if not first.isalpha() else text[:1].upper() + text[1:]
    return text if text.endswith((".", "]")) else text + "."


def _prose(text: str) -> str:
    return "\n".join(textwrap.wrap(_text(text), 78, break_long_words=False, break_on_hyphens=False))


def _text(text: str) -> str:
    r"""Escape what troff reads otherwise: a hyphen that is typed is ``\-``, and a dot that begins a line is none."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return re.sub(r"(?<!\S)\.", r"\\&.", escaped)
