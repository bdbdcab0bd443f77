"""The typer application: options only. Each command imports what it needs when it runs, so that each starts fast."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tng_compiler.cli import runtime_options as options
from tng_compiler.cli.instance import Instance, table
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


class DiffFormat(StrEnum):
    """How ``diff`` writes a difference."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    MARKDOWN = "markdown"


class FailOn(StrEnum):
    """Which changes end ``diff`` in exit status 1."""

    UNPROTECTED = "unprotected"
    ANY = "any"


class Expect(StrEnum):
    """What ``find`` is expected to find."""

    NONE = "none"
    SOME = "some"


class Emit(StrEnum):
    """What ``compile`` writes to standard output."""

    NFT = "nft"
    GUARD = "guard"
    MANIFEST = "manifest"
    PLAN = "plan"
    IPTABLES = "iptables"
    DIAGRAM = "diagram"
    SVG = "svg"


class AnswerFormat(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"


Documents = Annotated[
    list[str], typer.Argument(metavar="CFG...", help="Files, directories of *.json, or - for standard input.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Turn warnings into errors.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How diagnostics are written.")]


def _version(wanted: bool) -> None:
    if wanted:
        from tng_compiler.cli.version import texts

        print(*texts(), sep="\n")
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
    keep: Annotated[
        bool, typer.Option("--keep", help="With -o, for tng@.service: record the document, for `tng rollback`.")
    ] = False,
    format_: FormatOption = Format.TEXT,
    strict: Strict = False,
    instance: Instance = None,
) -> None:
    """Compile documents; diagnostics go to standard error."""
    from tng_compiler.cli.commands import run_check, run_compile

    if check_only:
        raise typer.Exit(run_check(documents, format_, strict=strict, emit=(emit or Emit.NFT).value))
    if emit and output:
        raise typer.BadParameter("--emit writes to standard output and -o to a directory: give one of them")
    if instance and emit is Emit.IPTABLES:
        raise typer.BadParameter("chains of iptables have one set of names: --instance is for nft")
    if keep:
        if output is None or len(documents) != 1 or check_only:
            raise typer.BadParameter("--keep is for one document and -o")
        from tng_compiler.cli.unit import run_keep

        raise typer.Exit(run_keep(documents[0], output, format_, strict=strict, table=table(instance)))
    kind = (emit or Emit.NFT).value
    raise typer.Exit(run_compile(documents, kind, output, format_, strict=strict, table=table(instance)))


@app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A file, a directory, or - for standard input.")],
    new: Annotated[str | None, typer.Argument(metavar="[NEW]", help="The same after the change.")] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Compare one document with what runs on this host: it is the new one.")
    ] = False,
    format_: Annotated[DiffFormat, typer.Option("--format", help="How the difference is written.")] = DiffFormat.TEXT,
    expect: Annotated[
        str | None,
        typer.Option("--expect", metavar="FILE", help="A JSON report: exit 1 on any change that is not in it."),
    ] = None,
    fail_on: Annotated[
        FailOn | None, typer.Option("--fail-on", help="Exit 1 on a change that loses protection, or on any.")
    ] = None,
) -> None:
    """Say which traffic a change treats otherwise, most dangerous first; exit 0 unless told what not to allow."""
    if live == (new is not None):
        raise typer.BadParameter("give OLD and NEW, or one document and --live")
    from tng_compiler.cli.diff import run_diff

    raise typer.Exit(run_diff(old, new, format_, expect, fail_on))


@app.command()
def find(
    document: Annotated[str, typer.Argument(metavar="CFG", help="A file, or - for standard input.")],
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help='Such as "passed and to 10.0.0.0/8 and udp".')],
    expect: Annotated[Expect | None, typer.Option("--expect", help="Exit 1 if the answer is another.")] = None,
    every: Annotated[bool, typer.Option("--all", help="List all regions, not one witness.")] = False,
    format_: Annotated[AnswerFormat, typer.Option("--format", help="How the answer is written.")] = AnswerFormat.TEXT,
) -> None:
    """Find traffic: a flow that the pattern holds for, or the proof that there is none."""
    from tng_compiler.cli.find import run_find

    raise typer.Exit(run_find(document, pattern, expect, format_, every=every))


@app.command()
def doctor(
    document: Annotated[
        str | None, typer.Argument(metavar="[CFG]", help="A file, or - for standard input; the host alone without.")
    ] = None,
    format_: FormatOption = Format.TEXT,
    instance: Instance = None,
) -> None:
    """Look whether this host is ready for a document, and touch nothing; all findings at once."""
    from tng_compiler.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(document, format_, table(instance)))


@app.command()
def schema() -> None:
    """Print the JSON Schema of the language, for editors."""
    from tng_compiler.cli.commands import run_schema

    raise typer.Exit(run_schema())


@app.command(name="explain-code")
def explain_code(
    code: Annotated[
        str | None, typer.Argument(metavar="[CODE]", help="Such as TNG202 or NET-DIAL; all of them when left out.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/diagnostics.md.")] = False,
) -> None:
    """Explain a code of the compiler's diagnostics or of the runtime's log: what it means, and what to do."""
    from tng_compiler.cli.explain_code import run_explain_code

    raise typer.Exit(run_explain_code(code, markdown=markdown))


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
    instance: Instance = None,
    confirm: Annotated[
        int | None,
        typer.Option(
            "--confirm",
            metavar="SECONDS",
            min=1,
            max=options.LONGEST_CONFIRM,
            help="Without `tng confirm` until then what was before returns.",
        ),
    ] = None,
    drain: options.Drain = None,
    on_exit: options.OnExit = None,
    workers: options.Workers = None,
    max_connections: options.MaxConnections = None,
    max_handshakes: options.MaxHandshakes = None,
    user: options.User = None,
    log_connections: options.LogConnections = None,
    log_sample: options.LogSample = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Compile a document and become the runtime that executes it; what follows -- goes to `tng-runtime run`."""
    options.require_options(context)
    from tng_compiler.cli.apply import Wish, run_apply

    command = options.command_line(
        log_format=log_format,
        log_level=log_level,
        drain=drain,
        on_exit=on_exit,
        workers=workers,
        max_connections=max_connections,
        max_handshakes=max_handshakes,
        user=user,
        log_connections=log_connections,
        log_sample=log_sample,
    )
    wish = Wish([*command, *context.args], strict, state_dir, confirm, table=table(instance))
    raise typer.Exit(run_apply(document, wish))


@app.command()
def confirm(instance: Instance = None) -> None:
    """Say that what was applied with --confirm is to stay."""
    from tng_compiler.cli.confirm import run_confirm

    raise typer.Exit(run_confirm(table(instance)))


@app.command(context_settings={"allow_extra_args": True})
def rollback(
    context: typer.Context,
    instance: Instance = None,
    print_: Annotated[bool, typer.Option("--print", help="Print that document, and change nothing.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List what is kept, the last one last.")] = False,
) -> None:
    """Apply the document again that was there before; what follows -- goes to `tng-runtime run`."""
    options.require_options(context)
    from tng_compiler.cli.rollback import run_rollback

    raise typer.Exit(run_rollback(table(instance), context.args, only_print=print_, only_list=list_))


@app.command()
def launch(
    config_file: Annotated[
        str | None, typer.Option("--config-file", "--config", "-c", metavar="FILE", help="The document.")
    ] = None,
    config_content: Annotated[
        str | None, typer.Option("--config-content", metavar="TEXT", help="The document itself.")
    ] = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Apply a document, as the Rust TNG spells it."""
    from tng_compiler.cli.launch import run_launch

    command = options.command_line(log_format=log_format, log_level=log_level)
    raise typer.Exit(run_launch(config_file, config_content, command))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def down(context: typer.Context) -> None:
    """Open: end what is captured and remove the rules that a run left; arguments go to `tng-runtime down`."""
    from tng_compiler.cli.runtime import run_down

    run_down(context.args)


@app.command()
def status(
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="NAME", help="Only this one. [default: all of this host]")
    ] = None,
    connections: Annotated[
        bool, typer.Option("--connections", help="List what is open: who, where, since when, bytes, verdict.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Draw it anew every second.")] = False,
    format_: Annotated[AnswerFormat, typer.Option("--format", help="How it is written.")] = AnswerFormat.TEXT,
) -> None:
    """Say how the instances of this host stand; ends with 0 healthy, 1 degraded, 3 not running."""
    from tng_compiler.cli.status import run_status

    raise typer.Exit(run_status(instance, as_json=format_ is AnswerFormat.JSON, watch=watch, connections=connections))


@app.command()
def systemd(
    document: Annotated[
        str | None,
        typer.Argument(metavar="[CFG]", help="Also print drop-ins for the units whose cgroups this one captures."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="Write the files into DIR instead.")
    ] = None,
) -> None:
    """Print the units that close the host at boot and run /etc/tng/NAME.json as tng@NAME.service."""
    from tng_compiler.cli.systemd import run_systemd

    raise typer.Exit(run_systemd(document, output))
