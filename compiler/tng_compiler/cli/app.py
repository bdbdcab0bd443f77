"""The typer application: options only. Each command imports what it needs when it runs, so that each starts fast."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tng_compiler.cli.report import Format

app = typer.Typer(
    name="tng",
    help="Compile a TNG configuration into a ruleset and a manifest that people can review.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Emit(StrEnum):
    """What ``compile`` writes to standard output."""

    NFT = "nft"
    GUARD = "guard"
    MANIFEST = "manifest"
    PLAN = "plan"
    IPTABLES = "iptables"
    DIAGRAM = "diagram"
    SVG = "svg"


Documents = Annotated[
    list[str], typer.Argument(metavar="CFG...", help="Files, directories of *.json, or - for standard input.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Turn warnings into errors.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How diagnostics are written.")]


def _version(wanted: bool) -> None:
    if wanted:
        from tng_compiler import __version__

        print(f"tng {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Compile a TNG configuration into a ruleset and a manifest that people can review."""


@app.command()
def check(documents: Documents, format_: FormatOption = Format.TEXT, strict: Strict = False) -> None:
    """Say everything that is wrong with documents, and write nothing."""
    from tng_compiler.cli.commands import run_check

    raise typer.Exit(run_check(documents, format_, strict=strict))


@app.command(name="compile")
def compile_(
    documents: Documents,
    emit: Annotated[
        Emit | None, typer.Option("--emit", help="What to write to standard output. [default: nft]")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write ruleset.nft, guard.nft and manifest.json into DIR."),
    ] = None,
    check_only: Annotated[bool, typer.Option("--check-only", help="Compile, and write nothing.")] = False,
    format_: FormatOption = Format.TEXT,
    strict: Strict = False,
) -> None:
    """Compile documents; diagnostics go to standard error."""
    from tng_compiler.cli.commands import run_check, run_compile

    if check_only:
        raise typer.Exit(run_check(documents, format_, strict=strict, emit=(emit or Emit.NFT).value))
    if emit and output:
        raise typer.BadParameter("--emit writes to standard output and -o to a directory: give one of them")
    raise typer.Exit(run_compile(documents, (emit or Emit.NFT).value, output, format_, strict=strict))


@app.command()
def schema() -> None:
    """Print the JSON Schema of the language, for editors."""
    from tng_compiler.cli.commands import run_schema

    raise typer.Exit(run_schema())


@app.command(name="explain-code")
def explain_code(
    code: Annotated[
        str | None, typer.Argument(metavar="[CODE]", help="Such as TNG202; all of them when left out.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/diagnostics.md.")] = False,
) -> None:
    """Explain a diagnostic code: what it means, an example, and what to write instead."""
    from tng_compiler.cli.explain_code import run_explain_code

    raise typer.Exit(run_explain_code(code, markdown=markdown))


class AnswerFormat(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"


@app.command()
def explain(
    document: Annotated[str, typer.Argument(metavar="CFG", help="A file, or - for standard input.")],
    flow: Annotated[str, typer.Argument(metavar="FLOW", help='Such as "ingress 10.0.0.5 -> 10.1.2.3:8080".')],
    format_: Annotated[AnswerFormat, typer.Option("--format", help="How the answer is written.")] = AnswerFormat.TEXT,
) -> None:
    """Say what becomes of a connection, and why; what FLOW leaves out is unknown (docs/explain.md).

    Exit status: 0 captured, 4 passed in plaintext, 5 refused, 6 depends on what was left out; 1 if the document has
    errors, 2 if FLOW is none.
    """
    from tng_compiler.cli.explain import run_explain

    raise typer.Exit(run_explain(document, flow, json=format_ is AnswerFormat.JSON))


@app.command(context_settings={"allow_extra_args": True})
def apply(
    context: typer.Context,
    document: Annotated[str, typer.Argument(metavar="CFG", help="A file, or - for standard input.")],
    state_dir: Annotated[
        str | None,
        typer.Option("--state-dir", metavar="DIR", help="Where to compile to. [default: /run/tng/INSTANCE.PID]"),
    ] = None,
    strict: Strict = False,
) -> None:
    """Compile a document and become the runtime that executes it; options after -- go to `tng-runtime run`."""
    from tng_compiler.cli.apply import run_apply

    raise typer.Exit(run_apply(document, state_dir, context.args, strict=strict))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def down(context: typer.Context) -> None:
    """Open: end what is captured and remove the rules that a run left; arguments go to `tng-runtime down`."""
    from tng_compiler.cli.apply import run_down

    run_down(context.args)
