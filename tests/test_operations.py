"""docs/operations.md, done: each command in it, in its order, on a host, and what it says there."""

from __future__ import annotations

import json
import re
import shlex
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tng_demo import tunnel
from tng_demo.lab import Host, Lab

pytestmark = [pytest.mark.netns, pytest.mark.timeout(600)]

DOCUMENT = Path(__file__).parents[1] / "docs" / "operations.md"
# These go on until they are stopped: what stands in the document is awaited in what they write.
RUNS = ("tng apply", "tng rollback")
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Command:
    """A line after ``$``, and the lines below it."""

    line: str
    said: tuple[str, ...]

    @property
    def runs(self) -> bool:
        return self.line.startswith(RUNS) and "--list" not in self.line and "--print" not in self.line

    def pattern(self) -> str:
        """``…`` in a line is some text of it, and a line of it alone is any lines."""
        lines = [r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in self.said]
        return "".join(lines)


def commands() -> Iterator[Command]:
    for block in re.findall(r"^```console\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, *said = part.splitlines()
            yield Command(line, tuple(said))


def captures(*ports: int, **more: object) -> object:
    destinations = [{"host": "10.77.0.2", "port": port} for port in ports]
    return {"add_ingress": [{"netfilter": {"capture_dst": destinations, **more}, "no_ra": True}]}


def prepare(host: Host) -> None:
    (found,) = re.findall(r"^```json\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (host.state / "web.json").write_text(found)
    tunnel.write_config(host.state / "next.json", captures(8080, 8081))
    tunnel.write_config(host.state / "other.json", captures(8082))
    taken = {"add_ingress": [{"netfilter": {"capture_dst": {"port": 8083}, "listen_port": 15300}, "no_ra": True}]}
    (host.state / "taken.json").write_text(json.dumps(taken))


def shell(host: Host, line: str) -> list[str]:
    path = f"{Path(sys.prefix) / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    return ["sh", "-c", f"cd {shlex.quote(str(host.state))} && PATH={path} exec {line}"]


def test_every_command_does_what_the_document_says(hosts: Lab) -> None:
    host = hosts["client"]
    prepare(host)
    done = 0
    with host.inside(), socket.create_server(("127.0.0.1", 15300)):
        for command in commands():
            if command.runs:
                run = host.start(*shell(host, command.line))
                run.wait_for(command.pattern().removesuffix(r"\n"), PATIENCE)
            else:
                said = host.run(*shell(host, command.line), check=False, timeout=PATIENCE)
                assert re.fullmatch(command.pattern(), said.stderr + said.stdout), (command, said)
            done += 1
    assert done >= 12
