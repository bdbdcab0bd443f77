"""``tng-runtime``: argparse only, because this program belongs to the trusted base of a TEE."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import platform
import re
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from tng_runtime import __version__, log
from tng_runtime.errors import HostError
from tng_runtime.manifest import FILES, load_bundle
from tng_schema import contract

MOST_WORKERS = 1024
"""More than any machine has processors: a slip of the keyboard is not to fill the memory with processes."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0 clean, 1 a document is wrong, 2 usage or a bug, 3 host not ready."""
    words = sys.argv[1:] if arguments is None else arguments
    _buffer_no_errors()
    ended = False
    try:
        status = _main(words)
        ended = status == 0
    except SystemExit as end:  # of argparse
        status = end.code if isinstance(end.code, int) else 0
    except _Asked:
        status = 0
    except OSError:  # argparse cannot say what it wants to
        status = 2
    finally:
        if not ended and "run" in words:
            _forget(words)
    return _written(status)


class _Asked(BaseException):
    """A run is to end before it listens to signals."""


def _buffer_no_errors() -> None:
    """What a full disk or a dead terminal does not take would stay in the buffer, and fail again at the very end."""
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        raw = io.FileIO(sys.stderr.fileno(), "w", closefd=False)
        sys.stderr = io.TextIOWrapper(raw, sys.stderr.encoding, "backslashreplace", write_through=True)


def _written(status: int) -> int:
    """``status``, or 2 if standard output does not take what was written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # The interpreter flushes once more at its end, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        log.last_word(f"tng-runtime: cannot write: {error.strerror}")
        return status or 2
    return status


def _end(*_: object) -> NoReturn:
    raise _Asked


def _forget(words: list[str]) -> None:
    """A run that did not come to its end has not removed what `tng apply` made for it."""
    from tng_runtime.kernel import instance, record

    given = next((word.partition("=")[2] for word in words if word.startswith("--record=")), None)
    record.discard(Path(given) if given else None)
    instance.forget(Path(words[-1]))


def _main(arguments: list[str]) -> int:
    # A run reloads for SIGHUP; until it can, the signal waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    options = _parser().parse_args(arguments)
    if options.command == "run":
        signal.signal(signal.SIGTERM, _end)
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        # Those that `tng apply` held back.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        log.configure(options.log_format, options.log_level)
        _execute(options)
    except KeyboardInterrupt:
        if options.command == "run":
            raise _Asked from None
        return 130
    except Exception as error:
        return _report(error, debug=options.log_level == "debug")
    finally:
        log.close()
    return 0


def _execute(options: argparse.Namespace) -> None:
    match options.command:
        case "run":
            from tng_runtime.kernel import orders

            if options.record is None and not options.probe:
                orders.obey(options.directory)
            from tng_runtime import app
            from tng_runtime.events import Access

            given = app.Options(
                options.drain,
                options.on_exit,
                options.workers,
                options.user,
                max_connections=options.max_connections,
                max_handshakes=options.max_handshakes,
                record=options.record,
                access=Access(options.log_connections, options.log_sample),
                probes=options.probe,
                again=orders.again(options.directory),
            )
            app.run(options.directory, given)
        case "guard":
            from tng_runtime.kernel import instance, trusted

            trusted.require(options.directory, FILES)
            instance.guard(load_bundle(options.directory))
        case "explain-code":
            from tng_runtime import explain

            sys.stdout.write(explain.text(options.code) + "\n")
        case _:
            from tng_runtime.kernel import instance

            removed = instance.down(options.table)
            log.info("removed" if removed else "nothing_to_remove", table=options.table)


def _report(error: BaseException, *, debug: bool) -> int:
    # Task groups wrap what their tasks raise.
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, HostError):
        log.last_word(f"tng-runtime: {error.message}\n  help: {error.hint}")
        return error.exit_code
    log.error("bug", error=repr(error), advice="please report it; captured traffic stays refused until `tng down`")
    if debug:
        log.last_word("".join(traceback.format_exception(error)).rstrip())
    return 2


class _Version(argparse.Action):
    """Loads OpenSSL only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from cryptography import __version__ as cryptography
        from cryptography.hazmat.backends.openssl import backend

        openssl = " ".join(backend.openssl_version_text().split()[:2])
        used = f"Python {platform.python_version()}, {openssl} of cryptography {cryptography}"
        sys.stdout.write(f"{parser.prog} {__version__} ({used})\n")
        parser.exit()


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(text)) < math.inf:
            return seconds
    raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, found {text!r}")


def _probe(text: str) -> object:
    from tng_runtime.kernel import probe

    return probe.parse(text)


def _positive(text: str, most: int | None = None) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= (number := int(text)) <= (most or number):
            return number
    raise argparse.ArgumentTypeError(
        f"expected a number, 1 or more, found {text!r}" if most is None else f"expected 1 to {most}, found {text!r}"
    )


def _workers(text: str) -> int:
    return _positive(text, MOST_WORKERS)


def _table(text: str) -> str:
    if not re.fullmatch(contract.TABLE, text) or text.endswith(contract.GUARD_SUFFIX):
        raise argparse.ArgumentTypeError(f"expected the table of an instance, tng or tng_NAME, found {text!r}")
    return text


def _instance(text: str) -> str:
    return _table(f"tng_{text}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tng-runtime", description="Execute what `tng compile -o DIR` wrote.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and OpenSSL's, and end")
    parser.add_argument("--log-format", choices=("text", "json"), help="default: TNG_LOG_FORMAT, then text")
    parser.add_argument("--log-level", help="debug, info, warning or error; default: TNG_LOG_LEVEL, then info")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="load the rules and serve until SIGINT or SIGTERM")
    run.add_argument("directory", type=Path, metavar="DIR", help="with manifest.json, ruleset.nft and guard.nft")
    run.add_argument("--drain", type=_seconds, metavar="SECONDS", help="for open connections (10; taken over: no end)")
    run.add_argument(
        "--on-exit",
        choices=("closed", "open"),
        default="closed",
        help="whether the rules stay at the end and refuse what they captured, or go (closed)",
    )
    run.add_argument("--workers", type=_workers, metavar="N", help="processes that serve (the processors to use)")
    run.add_argument("--max-connections", type=_positive, metavar="N", help="of all workers (by the memory there is)")
    run.add_argument("--max-handshakes", type=_positive, metavar="N", help="without a verdict yet (by the memory)")
    run.add_argument(
        "--log-connections",
        choices=("all", "refused", "none"),
        default="all",
        help="which connections have a line at their end; all are counted (all)",
    )
    run.add_argument("--log-sample", type=_positive, default=1, metavar="N", help="of those in order, one of N (1)")
    run.add_argument("--user", metavar="NAME", help="whom workers, judge and control become (tng, else 65534)")
    run.add_argument("--record", type=Path, metavar="DIR", help="the document's place once it serves; for `tng apply`")
    run.add_argument(
        "--probe", type=_probe, action="append", default=[], metavar="ADDRESS:PORT=LISTEN_PORT",
        help="a destination that is captured, tried once the rules are there; for `tng apply`",
    )  # fmt: skip
    guard = commands.add_parser("guard", help="load the rules and serve nothing: what they capture is refused")
    guard.add_argument("directory", type=Path, metavar="DIR", help="as for run")
    explain = commands.add_parser("explain-code", help="say what a code in the log means, and what to do")
    explain.add_argument("code", nargs="?", metavar="CODE", help="such as NET-DIAL; all of them when left out")
    down = commands.add_parser("down", help="end what was captured, and remove the rules that a run left")
    which = down.add_mutually_exclusive_group()
    which.add_argument("--table", type=_table, default="tng", help="table of the instance (tng)")
    which.add_argument("--instance", dest="table", type=_instance, metavar="NAME", help="its name")
    return parser


if __name__ == "__main__":
    sys.exit(main())
