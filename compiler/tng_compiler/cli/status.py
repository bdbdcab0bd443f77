"""``tng status``: what the instances of this host say of themselves, on the unix sockets that each of them has."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.status_text import connections_text, status_text
from tng_compiler.host import running
from tng_compiler.host.places import run_directory
from tng_schema import contract

SECONDS = 10.0
WATCH_SECONDS = 1.0
MOST_BYTES = 64 << 20
DEGRADED = Exit.FINDINGS


@dataclass(frozen=True, slots=True)
class Instance:
    """One socket: what it said, or why not."""

    path: Path
    said: dict[str, Any] | None
    silent: str | None = None

    @property
    def healthy(self) -> bool:
        """Whether it serves, and has nothing to complain of; an old one that only drains is no reason to worry."""
        return self.said is not None and not self.said["problems"] and (self.drains or not self.said["pending"])

    @property
    def drains(self) -> bool:
        """Whether it lets its connections end."""
        return self.said is not None and self.said["state"] == "stopping"


def run_status(instance: str | None, *, as_json: bool, watch: bool, connections: bool) -> Exit:
    """Say how the instances stand; with ``watch`` until interrupted."""
    where = run_directory()
    if watch:
        return _watch(where, instance, connections=connections)
    found = look(where, instance, "/connections" if connections else "/status/")
    if not found and as_json:
        print(json.dumps({"instances": [], "exit": int(Exit.HOST_NOT_READY)}, indent=2))
        return Exit.HOST_NOT_READY
    if not found:
        fail(Exit.HOST_NOT_READY, *_nothing(instance))
    if as_json:
        shown = [{"socket": str(each.path), "silent": each.silent, **(each.said or {})} for each in found]
        print(json.dumps({"instances": shown, "exit": int(_exit(found, connections))}, indent=2, ensure_ascii=True))
    else:
        print("\n".join(_lines(found, connections=connections)))
    return _exit(found, connections)


def look(where: Path, instance: str | None, path: str) -> list[Instance]:
    """Ask every instance in ``where``, or the one of that name; those that are gone are left out."""
    try:
        sockets = sorted(each for each in where.iterdir() if each.name.endswith(contract.STATUS_SUFFIX))
    except FileNotFoundError:
        return []
    except OSError as error:
        fail(Exit.HOST_NOT_READY, f"{where}: {error.strerror}", "ask as the user of the instance, root in most cases")
    # By its name, or by that of its table.
    wanted = None if instance is None else (instance, f"tng_{instance}")
    found = [ask(each, path) for each in sockets if wanted is None or each.name.split(".")[0] in wanted]
    return [each for each in found if each is not None]


def ask(path: Path, what: str) -> Instance | None:
    """One instance's answer; None if nobody is there any more."""
    connection = _Unix(path)
    try:
        connection.request("GET", what)
        answer = connection.getresponse()
        body = answer.read(MOST_BYTES)
        if answer.status != http.client.OK:
            return Instance(path, None, body.decode("utf-8", "replace").strip() or f"status {answer.status}")
        said = json.loads(body)
    except (ConnectionRefusedError, FileNotFoundError):
        return None
    except PermissionError as error:
        fail(Exit.HOST_NOT_READY, f"{path}: {error.strerror}", "ask as the user of the instance, root in most cases")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Instance(path, None, f"no answer: {error}")
    finally:
        connection.close()
    if isinstance(said, dict) and "pid" in said:
        said["document"] = running.source(said["pid"])
    return Instance(path, said if isinstance(said, dict) else None)


def _exit(found: Sequence[Instance], connections: bool) -> Exit:
    if connections:
        return Exit.CLEAN if all(each.said is not None for each in found) else DEGRADED
    serving = any(each.said is not None and each.said["state"] == "serving" for each in found)
    return Exit.CLEAN if serving and all(each.healthy for each in found) else DEGRADED


def _lines(found: Sequence[Instance], *, connections: bool) -> list[str]:
    lines: list[str] = []
    for each in found:
        if each.said is None:
            lines += [
                "",
                f"{each.path.name}: {each.silent}",
                "  it is there and does not say how it stands: kill -TERM",
            ]
            continue
        lines += ["", *(connections_text(each.path.name, each.said) if connections else status_text(each.said))]
    return lines[1:]


def _nothing(instance: str | None) -> tuple[str, str]:
    which = f"no instance {instance}" if instance else "no instance"
    if os.geteuid() != 0 and run_directory() != Path(contract.RUN_DIRECTORY):
        return f"{which} of this user runs on this host", "root sees its own: `sudo tng status`"
    return (
        f"{which} runs on this host",
        "`tng apply CFG` starts one; `nft list tables` shows whether rules still refuse",
    )


def _watch(where: Path, instance: str | None, *, connections: bool) -> Exit:
    """Draw it anew every second; in a pipe one look after the other. Ends as the last look would have."""
    what = "/connections" if connections else "/status/"
    code = Exit.HOST_NOT_READY
    try:
        with _screen() as show:
            while True:
                found = look(where, instance, what)
                code = _exit(found, connections) if found else Exit.HOST_NOT_READY
                lines = _lines(found, connections=connections) if found else [_nothing(instance)[0]]
                show("\n".join([time.strftime("%H:%M:%S"), "", *lines]))
                time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return code


@contextlib.contextmanager
def _screen() -> Iterator[Callable[[str], None]]:
    """What shows a text in the place of the one before; on what is no terminal, after it."""
    if not sys.stdout.isatty():
        yield lambda text: print(text, "\n", flush=True)
        return
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False, screen=True) as live:
        yield lambda text: live.update(Text(text, overflow="crop", no_wrap=True), refresh=True)


class _Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))
