"""What the help of both programs says, as data: for manuals and completions, which say the same.

``tng`` is written with typer (click), ``tng-runtime`` with argparse; here both become the same few values.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """``names`` as they are written, ``value`` in capitals if there is one, ``choices`` for it, and the help."""

    names: tuple[str, ...]
    value: str | None
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Argument:
    """Its ``name`` as the usage writes it, ``CFG...`` or ``[CODE]``, and the help."""

    name: str
    help: str


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand."""

    name: str
    help: str
    arguments: tuple[Argument, ...]
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A program and its subcommands, in the order of its help."""

    name: str
    help: str
    options: tuple[Option, ...]
    commands: tuple[Command, ...]


def compiler() -> Program:
    """``tng``."""
    import typer.main

    from tng_compiler.cli.app import app

    # click's own classes have no types for what typer's add.
    group: Any = typer.main.get_command(app)
    context = group.make_context("tng", [], resilient_parsing=True)
    commands = [_from_click(name, group.get_command(context, name)) for name in group.list_commands(context)]
    shown = [command for command in commands if command is not None]
    return Program("tng", group.help, _click_options(group), tuple(shown))


def runtime() -> Program:
    """``tng-runtime``."""
    from tng_runtime.__main__ import _parser

    parser = _parser()
    commands: list[Command] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                commands.append(Command(name, helps.get(name, ""), _arguments(sub), _options(sub)))
    return Program(parser.prog, parser.description or "", _options(parser), tuple(commands))


def _from_click(name: str, command: Any) -> Command | None:
    if command.hidden:
        return None
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    named = tuple(Argument(each.metavar or each.name.upper(), each.help or "") for each in arguments)
    return Command(name, " ".join((command.help or "").split()), named, _click_options(command))


def _click_options(command: Any) -> tuple[Option, ...]:
    found = []
    for each in command.params:
        if each.param_type_name != "option" or each.hidden:
            continue
        choices = tuple(map(str, getattr(each.type, "choices", ())))
        value = None if each.is_flag else each.metavar or (each.type.name or "value").upper()
        if choices and not each.metavar:
            value = "|".join(choices)
        found.append(Option(_sorted((*each.opts, *each.secondary_opts)), value, choices, each.help or ""))
    return (*found, Option(("-h", "--help"), None, (), "Show this message and exit."))


def _arguments(parser: argparse.ArgumentParser) -> tuple[Argument, ...]:
    positional = [each for each in parser._actions if not each.option_strings and each.help is not argparse.SUPPRESS]
    kept = [each for each in positional if not isinstance(each, argparse._SubParsersAction)]
    return tuple(Argument(str(each.metavar or each.dest.upper()), each.help or "") for each in kept)


def _options(parser: argparse.ArgumentParser) -> tuple[Option, ...]:
    found = []
    for each in parser._actions:
        if each.option_strings and each.help is not argparse.SUPPRESS:
            choices = tuple(map(str, each.choices or ()))
            takes = each.nargs != 0
            value = ("|".join(choices) or str(each.metavar or each.dest.upper())) if takes else None
            found.append(Option(_sorted(each.option_strings), value, choices, each.help or ""))
    return tuple(found)


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (len(name), name)))
