"""The options of ``tng-runtime run``, as ``tng apply`` takes them: by the same names, handed on as they are.

Their values are the runtime's to judge. A test compares the names with what ``tng-runtime run --help`` lists.
"""

from __future__ import annotations

from typing import Annotated

import typer


def _option(name: str, metavar: str, help_: str) -> object:
    return typer.Option(name, metavar=metavar, help=help_, rich_help_panel="Runtime")


LogFormat = Annotated[str | None, _option("--log-format", "text|json", "Of the runtime. [default: TNG_LOG_FORMAT]")]
LogLevel = Annotated[
    str | None, _option("--log-level", "LEVEL", "debug, info, warning or error. [default: TNG_LOG_LEVEL, then info]")
]
Drain = Annotated[
    str | None, _option("--drain", "SECONDS", "For open connections at the end, and for those of whom it takes over.")
]
OnExit = Annotated[
    str | None, _option("--on-exit", "closed|open", "Whether the rules stay at the end and refuse, or go.")
]
Workers = Annotated[str | None, _option("--workers", "N", "Processes that serve.")]
MaxConnections = Annotated[str | None, _option("--max-connections", "N", "Of all workers.")]
MaxHandshakes = Annotated[str | None, _option("--max-handshakes", "N", "Without a verdict yet.")]
LogConnections = Annotated[
    str | None, _option("--log-connections", "all|refused|none", "Which connections have a line at their end.")
]
LogSample = Annotated[str | None, _option("--log-sample", "N", "Of those that end in order, one of N has a line.")]
User = Annotated[str | None, _option("--user", "NAME", "Whom workers and judge become.")]


LONGEST_CONFIRM = 7 * 24 * 3600


def require_options(context: typer.Context) -> None:
    """Refuse a second document: what goes to the runtime as it is begins with an option."""
    if context.args and not context.args[0].startswith("-"):
        raise typer.BadParameter(f"got an unexpected extra argument ({context.args[0]})")


def command_line(
    *,
    log_format: str | None = None,
    log_level: str | None = None,
    **of_run: str | None,
) -> list[str]:
    """``run`` with the options that were given, by their names with underscores, in the order the runtime wants."""
    first = {"--log-format": log_format, "--log-level": log_level}
    named = {f"--{name.replace('_', '-')}": value for name, value in of_run.items()}
    return [*_given(first), "run", *_given(named)]


def _given(options: dict[str, str | None]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items() if value is not None]
