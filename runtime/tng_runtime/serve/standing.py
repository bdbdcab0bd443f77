"""What the supervisor knows of its instance, kept in one place for whoever asks; and what it notices by itself."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import anyio

from tng_runtime import log
from tng_runtime.errors import HostError
from tng_runtime.kernel.own import source_of
from tng_runtime.kernel.rules import RulesState
from tng_runtime.kernel.upkeep import Upkeep
from tng_runtime.manifest import Control, Entry, Manifest
from tng_runtime.serve.losses import Figures, Losses
from tng_runtime.serve.report import Standing, snapshot
from tng_runtime.serve.tally import SAMPLE_SECONDS
from tng_runtime.serve.team import Team
from tng_schema import contract

# A look at the rules takes the kernel and nft some milliseconds: no more often than that.
RULES_SECONDS = 1.0
_BACKLOG = 64
_FILTERED = "a filter of this host drops what was redirected: look at its input hook in `nft list ruleset`"


@dataclass(slots=True)
class Stand:
    """One run; ``upkeep`` gives the upkeep of the moment, ``bound`` the listeners by entry.

    ``pending`` is the stage of a start, None once it serves.
    """

    manifest: Manifest
    team: Team
    wanted: int
    upkeep: Callable[[], Upkeep]
    bound: Callable[[], list[list[socket.socket]]]
    captures: dict[str, list[str]]
    pending: str | None = "the rules are being loaded"
    stopping: bool = False
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    warnings: dict[str, str] = field(default_factory=dict)
    _rules: tuple[float, RulesState | None] = (-RULES_SECONDS, None)
    _losses: dict[str, Losses] = field(default_factory=dict)

    def document(self) -> bytes:
        """How the instance stands, JSON."""
        judge = self.team.judge
        standing = Standing(
            since=self.since,
            pending=self.waits_for(),
            stopping=self.stopping,
            wanted=self.wanted,
            workers=[worker.pid for worker in self.team.serving],
            judge=judge.pid if judge is not None else None,
            rules=self._state(),
            pid=os.getpid(),
            namespace=_namespace(),
            lost_here=log.lost(),
            warnings=tuple(self.warnings.values()),
            captures=self.captures,
            listening=[[source_of(sock.getsockname()) for sock in sockets] for sockets in self.bound()],
        )
        return json.dumps(snapshot(self.manifest, self.team.sums, standing)).encode()

    async def run(self) -> None:
        """Take samples, and look at what is captured and does not arrive, until cancelled."""
        while True:
            self.team.sums.sample()
            self.look()
            await anyio.sleep(SAMPLE_SECONDS)

    def look(self) -> None:
        """Warn when the rules redirect connections that do not arrive at our listeners."""
        state = self._state()
        if state is None or self.pending is not None:
            return
        counters = state.counters.get(self.manifest.table, {})
        for entry in self.manifest.entries:
            if (figures := Figures.of(counters, entry.pointer)) is not None:
                self._compare(entry, figures)

    def _compare(self, entry: Entry, figures: Figures) -> None:
        losses = self._losses.setdefault(entry.pointer, Losses(entry.role))
        begun = losses.look(figures)
        if losses.now is None:
            self.warnings.pop(entry.pointer, None)
        if begun is None:
            return
        words: dict[str, object] = {"entry": entry.pointer, "captured": begun.captured, "arrived": begun.arrived}
        if begun.fault:
            log.warning("captured_not_arrived", **words, advice=_FILTERED)
            self.warnings[entry.pointer] = (
                f"{entry.pointer}: captured {begun.captured}, arrived {begun.arrived}: {_FILTERED}"
            )
        else:
            log.info("captured_not_arrived", **words, advice="a filter of this host keeps some clients away")

    def waits_for(self) -> list[str]:
        """What a start waits for; nothing once it serves."""
        if self.pending is None:
            return []
        waiting = [
            f"{entry.pointer} waits for its first certificate"
            for number, entry in enumerate(self.manifest.entries)
            if entry.attest is not None
            and entry.attest.refresh_interval
            and self.team.sums.judge(number).not_after is None
        ]
        return [self.pending, *waiting]

    def _state(self) -> RulesState | None:
        now = time.monotonic()
        if now - self._rules[0] >= RULES_SECONDS:
            try:
                self._rules = (now, self.upkeep().rules.state())
            except HostError as error:
                log.error("rules_not_read", reason=error.message, advice=error.hint)
                self._rules = (now, None)
        return self._rules[1]


def private_socket(directory: Path, table: str) -> tuple[Path, socket.socket]:
    """A listening unix socket of this process for its user alone, and its path; raises ``HostError``."""
    path = directory / f"{table}.{_namespace()}.{os.getpid()}{contract.STATUS_SUFFIX}"
    sock = socket.socket(socket.AF_UNIX)
    try:
        with suppress(FileNotFoundError):
            path.unlink()
        sock.bind(str(path))
        path.chmod(0o600)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        hint = f"look at {directory}, which holds the locks too: `df -h {directory}`, `df -i {directory}`"
        raise HostError(f"{path}: {error.strerror}", hint=hint) from None
    return path, sock


def public_socket(control: Control, inherited: Sequence[socket.socket]) -> socket.socket:
    """The listening TCP socket that the document names, one of ``inherited`` if it is that; raises ``HostError``."""
    host = control.host.strip("[]")
    for known in inherited:
        if known.getsockname()[:2] == (host, control.port):
            return known
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, control.port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        what = f"/control_interface/restful: cannot listen on {host}:{control.port}: {error.strerror}"
        raise HostError(what, hint=f"`ss -ltnp sport = :{control.port}` says who has it") from None
    return sock


def _namespace() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino
