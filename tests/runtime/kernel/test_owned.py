"""A table that belongs to a process, against what others try, and its end."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tng_demo.lab import Host, Lab
from tng_runtime.errors import HostError
from tng_runtime.kernel import nftables, owned
from tng_runtime.kernel.owned import OwnedTable

pytestmark = pytest.mark.netns

COMMANDS = (
    "add chain inet tng_guard out { type filter hook output priority -5; }\nadd rule inet tng_guard out counter\n"
)
OWNER = f"""
import sys
from tng_runtime.kernel.owned import OwnedTable
own = OwnedTable("tng_guard")
own.replace({COMMANDS!r})
print(own.persists, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def client(hosts: Lab) -> Iterator[Host]:
    with hosts["client"].inside():
        yield hosts["client"]


@pytest.fixture
def own(client: Host) -> Iterator[OwnedTable]:
    made = OwnedTable("tng_guard")
    yield made
    made.close()


@contextmanager
def another_owner() -> Iterator[tuple[subprocess.Popen[str], bool]]:
    """A process that owns the guard until it is killed, and whether its table persists."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    argv = [sys.executable, "-c", OWNER]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said in ("True\n", "False\n")
        try:
            yield process, said == "True\n"
        finally:
            process.kill()


def counters(host: Host) -> int:
    return host.run("nft", "list", "ruleset").stdout.count("counter packets")


@pytest.mark.parametrize("command", ["delete table inet tng_guard", "flush table inet tng_guard", "flush ruleset"])
def test_nobody_else_can_flush_change_or_delete_it(client: Host, own: OwnedTable, command: str) -> None:
    own.replace(COMMANDS)
    done = client.run("nft", command, check=False)
    assert "flush ruleset" in command or "Operation not permitted" in done.stderr
    assert counters(client) == 1
    assert nftables.change("add rule inet tng_guard out counter\n", own.context)
    assert counters(client) == 2
    assert nftables.remove("tng_guard", context=own.context)
    assert counters(client) == 0


def test_it_is_owned_by_the_socket_and_not_by_a_context(client: Host, own: OwnedTable) -> None:
    """Contexts are freed after a load; the next one is the owner, in the kernel's eyes, and the same sender."""
    own.replace(COMMANDS)
    gc.collect()  # sockets of earlier tests would go in between
    port, before = own.port, owned._netfilter_sockets()
    for number in range(2, 5):
        own.free_context()
        assert nftables.change("add rule inet tng_guard out counter\n", own.context)
        assert counters(client) == number
    assert own.port == port
    own.free_context()
    own.replace(COMMANDS)
    assert counters(client) == 1
    assert len(owned._netfilter_sockets()) <= len(before)
    own.free_context()
    assert len(owned._netfilter_sockets()) == len(before) - 1, "the socket is kept once"
    refused = client.run("nft", "delete", "table", "inet", "tng_guard", check=False)
    assert "Operation not permitted" in refused.stderr


def test_a_table_that_a_living_process_owns_is_said(client: Host, own: OwnedTable) -> None:
    with another_owner():
        with pytest.raises(HostError, match="belongs to another process"):
            own.replace(COMMANDS)
        assert counters(client) == 1


def test_of_a_killed_owner_it_stays_as_an_ordinary_table_or_goes_and_the_next_one_replaces_it(
    client: Host, own: OwnedTable
) -> None:
    with another_owner() as (owner, persists):
        owner.kill()
        owner.wait()
    assert counters(client) == int(persists)
    own.replace(COMMANDS)
    own.replace(COMMANDS)
    assert counters(client) == 1
    assert "flags owner" in client.run("nft", "list", "table", "inet", "tng_guard").stdout


def test_what_does_not_load_is_said_and_the_table_stays_owned(client: Host, own: OwnedTable) -> None:
    with pytest.raises(HostError, match="table inet tng_guard was not filled"):
        own.replace("add rule inet tng_guard absent counter\n")
    own.replace(COMMANDS)
    assert counters(client) == 1


def test_a_kernel_without_persist_makes_it_owned_alone(client: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag that no kernel knows stands in for the one that an older kernel does not know."""
    own = OwnedTable("tng_guard")
    own.replace(COMMANDS)
    monkeypatch.setattr(owned, "_PERSIST", 1 << 30)
    own.replace(COMMANDS)
    assert not own.persists
    assert counters(client) == 1
    refused = client.run("nft", "delete", "table", "inet", "tng_guard", check=False)
    assert "Operation not permitted" in refused.stderr
    own.close()
    assert counters(client) == 0
