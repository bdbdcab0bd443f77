"""The stages of the hostile suite: each is built once for a module and must end as it began."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from hostile import stage as stages
from hostile import tls13
from hostile.stage import BACKGROUND, NO_RA, PASSPORT, Held, Stage
from hostile.tls13 import Shown, Tls
from runtime.footprint import MEMORY_SLACK


@dataclass(frozen=True, slots=True)
class Scene:
    """A stage with an honest connection that each case must leave alone."""

    stage: Stage
    held: Held

    def show(self, shown: Shown) -> Callable[[socket.socket], Tls]:
        """The peer that shakes hands properly and shows this."""
        if self.stage.side == "ingress":
            return lambda sock: tls13.server(sock, shown)
        return lambda sock: tls13.client(sock, shown)

    def refuses(self, port: int, shown: Shown, *codes: str) -> None:
        """Assert that the peer that shows this is refused, and that the honest connection goes on."""
        self.stage.refused(self.stage.hostile(port, self.show(shown)), *codes)
        self.held.ping()


@pytest.fixture(autouse=True)
def codes_seen(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Hand the codes of a test on to its report."""
    stages.CODES_SEEN.clear()
    yield
    if stages.CODES_SEEN:
        record_property("refused", " ".join(sorted(set(stages.CODES_SEEN))))


@pytest.fixture(scope="module", params=[*stages.INGRESS, *stages.EGRESS])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The runtime as ingress, then as egress, with one worker and with two.

    At the end its descriptors and memory are what they were.
    """
    side, workers = request.param
    with stages.stage(side, tmp_path_factory.mktemp(side), options=("--workers", str(workers))) as stage:
        opened = 1
        for port in (BACKGROUND, PASSPORT, NO_RA):
            shown = stages.passport(stages.honest_token()) if port == PASSPORT else stages.honest()
            stage.open(port, shown).close()
            opened += 1
        held = stage.open(BACKGROUND, stages.honest())
        descriptors, memory, dialled = stage.descriptors(), stage.memory(), stage.dialled()
        built = Scene(stage, held)
        yield built
        held.ping()
        # Fewer are in order: who answers questions about the run is there only while somebody asks.
        stages.until(lambda: stage.descriptors() <= descriptors, f"more than {descriptors} descriptors are left open")
        assert stage.memory() < memory + MEMORY_SLACK
        if stage.side == "egress":
            assert (dialled, stage.dialled() - dialled) == (opened, stage.proved)
        assert not [line for line in stage.log.read() if line["event"] == "bug"]
        held.close()
        assert stage.run.stop() == 0
