"""Listening sockets and their cgroups, asked of the kernel: which of them a start warns of."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from packets.cgroups import cgroups, with_cgroups
from tng_demo.lab import Host, Lab
from tng_runtime.kernel import diag, listeners
from tng_runtime.kernel.sockets import listener

pytestmark = pytest.mark.netns

TREE = f"tng-listen-{os.getpid()}"
WEB, BELOW, OTHER, ENDED = f"{TREE}/web", f"{TREE}/web/below", f"{TREE}/other", f"{TREE}/ended"

# Joins cgroups and listens on ports, as its arguments say, one after the other; then looks at the ports 8000 to 8099.
PROGRAM = f"""
import os, socket, sys
from tng_runtime.kernel.listeners import warn
from tng_runtime.manifest import ServiceCgroups
held = []
for argument in sys.argv[1:]:
    if argument.isdecimal():
        held.append(socket.create_server(("::", int(argument)), family=socket.AF_INET6))
    elif argument.startswith("-"):
        os.rmdir("/sys/fs/cgroup/" + argument[1:])
    else:
        with open("/sys/fs/cgroup/" + argument + "/cgroup.procs", "w") as procs:
            procs.write("0")
warn([ServiceCgroups("/add_egress/0", ({WEB!r},), ((8000, 8049), (8050, 8099)))])
"""


@pytest.fixture
def server(hosts: Lab) -> Iterator[Host]:
    with cgroups(WEB, BELOW, OTHER):
        yield hosts["server"]


def warned(host: Host, *story: str) -> list[str]:
    """The lines of a start after a program has joined cgroups and listened as ``story`` says."""
    return host.run(*with_cgroups([sys.executable, "-c", PROGRAM, *story])).stderr.splitlines()


def test_sockets_made_in_the_cgroup_or_below_it_are_as_they_should_be(server: Host) -> None:
    assert warned(server, WEB, "8000", BELOW, "8099", OTHER, "9000") == []


def test_a_process_that_was_moved_keeps_its_sockets_in_the_old_cgroup(server: Host) -> None:
    (line,) = warned(server, OTHER, "8050", WEB, "8051")
    assert "level=warning event=listener_in_other_cgroup entry=/add_egress/0 port=8050" in line
    assert f"cgroup={OTHER} captured={WEB}" in line


def test_a_name_that_only_begins_alike_is_another_cgroup(server: Host) -> None:
    with cgroups(f"{WEB}2"):
        (line,) = warned(server, f"{WEB}2", "8000", OTHER)
    assert f"cgroup={WEB}2 " in line


def test_a_socket_of_no_cgroup_is_told_too(server: Host) -> None:
    (line,) = warned(server, "8000")
    assert "cgroup=/ " in line


def test_a_socket_whose_cgroup_has_ended_is_told_too(server: Host) -> None:
    with cgroups(ENDED):
        (line,) = warned(server, ENDED, "8000", OTHER, f"-{ENDED}")
    assert 'cgroup="one that has ended"' in line


def test_of_very_many_only_some_are_told(server: Host) -> None:
    lines = warned(server, OTHER, *map(str, range(8000, 8020)))
    assert len(lines) == 9
    assert "more=12" in lines[-1]


def test_both_families_and_nothing_but_listening_sockets_are_found(hosts: Lab) -> None:
    with (
        hosts["server"].inside(),
        closing(listener("egress", "ipv4", 8080, 565)) as one,
        closing(listener("ingress", "ipv6", 8081, 565)),
        closing(one.dup()),
    ):
        found = dict(diag.listening())
    assert found.keys() == {("0.0.0.0", 8080), ("::1", 8081)}
    assert all(found.values())


def test_a_thousand_sockets_are_more_than_one_answer_holds(hosts: Lab) -> None:
    with hosts["server"].inside():
        held = [listener("egress", "ipv4", 10000 + number, 565) for number in range(1000)]
        found = list(diag.listening())
    for sock in held:
        sock.close()
    assert len(found) == 1000


def test_without_services_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diag, "listening", lambda: pytest.fail("asked"))
    listeners.warn(())
