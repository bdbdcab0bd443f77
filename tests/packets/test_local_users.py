"""Other users of this host: who sits on a listen port without our mark, and whose tables write marks.

nft only: iptables cannot look at the mark of the socket that a packet will get.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from collections.abc import Iterator

import pytest

from packets.attack import (
    DEADLINE,
    HOST,
    MARK,
    PEER,
    REFUSALS,
    Scene,
    await_until,
    conntrack,
    from_port,
    made,
    scene,
    spoken,
    wire,
)
from packets.make import config, entry
from packets.wire import FAMILIES, SECRET, held

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

INGRESS = config(entry("ingress", 0, [{"port": 8080}]))
EGRESS = config(entry("egress", 0, [{"port": 8080}]))
SEATS = [("ipv4", "0.0.0.0"), ("ipv4", "127.0.0.1"), ("ipv6", "::"), ("ipv6", "::1")]


@contextlib.contextmanager
def squatter(built: Scene, family: str, address: str) -> Iterator[socket.socket]:
    """A listening socket on the listen port that does not carry our mark."""
    with made(built.host, family) as sock:
        if family == "ipv6":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, built.plan.entries[0].listen_port))
        sock.listen()
        sock.setblocking(False)
        yield sock


def got_nothing(sock: socket.socket) -> bool:
    """Whether nobody has reached a listening socket."""
    try:
        sock.accept()[0].close()
    except BlockingIOError:
        return True
    return False


@pytest.mark.parametrize(("family", "address"), SEATS)
def test_105_who_binds_the_listen_port_of_an_ingress_gets_nothing(family: str, address: str) -> None:
    """Rules of before: it accepts the application's connection, and reads what it says."""
    with scene(INGRESS, listeners=False) as built, wire(built) as cable:
        built.load()
        with squatter(built, family, address) as sock:
            assert spoken(made(built.host, family), PEER[family], 8080, words=SECRET) == "refused"
            assert got_nothing(sock)
        assert not cable.carried(SECRET)
        built.listen()
        assert spoken(made(built.host, family), PEER[family], 8080).startswith("captured 15001"), "ours is served"


@pytest.mark.parametrize("family", FAMILIES)
def test_105_who_binds_the_listen_port_of_an_egress_gets_nothing(family: str) -> None:
    """Rules of before: it accepts the neighbour's connection, and speaks in the name of the service."""
    with scene(EGRESS, listeners=False) as built:
        built.load()
        with squatter(built, family, "") as sock:
            assert spoken(made(built.peer, family), HOST[family], 8080) == "refused"
            assert got_nothing(sock)
        built.listen()
        assert spoken(made(built.peer, family), HOST[family], 8080).startswith("captured 16001"), "ours is served"


def full(built: Scene, family: str, stack: contextlib.ExitStack) -> socket.socket:
    """A listener of ours that answers no SYN any more: its queue is full."""
    listener = stack.enter_context(made(built.host, family, MARK))
    listener.bind(("", built.plan.entries[0].listen_port))
    listener.listen(0)
    queued = stack.enter_context(made(built.host, family))
    queued.connect((PEER[family], 8080))
    return listener


@pytest.mark.parametrize("family", FAMILIES)
def test_105_a_syn_that_waits_for_our_listener_does_not_reach_its_successor(family: str) -> None:
    """The listener closes with a SYN unanswered, another user takes the port, and the SYN is sent again.

    Rules of before: it was redirected while the port was ours, and connects to the other user.
    """
    with scene(INGRESS, listeners=False) as built, contextlib.ExitStack() as stack:
        built.load()
        listener = full(built, family, stack)
        app = stack.enter_context(made(built.host, family))
        app.setblocking(False)
        assert app.connect_ex((PEER[family], 8080)) == errno.EINPROGRESS
        port = app.getsockname()[1]
        assert any(f"sport={port} " in line and "SYN_SENT" in line for line in conntrack(built.host).splitlines())
        listener.close()
        with squatter(built, family, "") as sock:
            _, writable, _ = select.select([], [app], [], DEADLINE)
            assert got_nothing(sock)
            assert not writable or app.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in REFUSALS


@pytest.mark.parametrize("family", FAMILIES)
def test_105_a_client_port_is_served_again_while_our_socket_waits(family: str) -> None:
    """Our accepted socket closed first, so it is in TIME_WAIT when the client's next connection has the same ports.

    Holds on the rules of before as well: such a socket has no mark to look at, and is no other user's.
    """
    with scene(INGRESS, listeners=False) as built:
        built.load()
        listener = made(built.host, family, MARK)
        listener.bind(("", 15001))
        listener.listen()
        with listener:
            with from_port(built.host, family, 40000) as first:
                first.connect((PEER[family], 8080))
                listener.accept()[0].close()
                assert first.recv(1) == b""
            states = ("ss", "-tan", "state", "time-wait", "sport", "=", ":15001")
            await_until("TIME_WAIT", lambda: ":40000" in built.host.run(*states).stdout)
            with from_port(built.host, family, 40000) as second:
                second.connect((PEER[family], 8080))
                accepted, source = listener.accept()
                with accepted:
                    accepted.settimeout(DEADLINE)
                    second.send(SECRET)
                    assert (source[1], accepted.recv(100)) == (40000, SECRET)


def foreign(hook: str, priority: int, statement: str, kind: str = "filter") -> str:
    """A table of somebody else with one statement."""
    chain = f"type {kind} hook {hook} priority {priority}; {statement};"
    return f"table inet foreign {{ chain a {{ {chain} }}; }}"


BEFORE_OURS = [("filter", -199), ("filter", -150), ("route", -150), ("filter", -106)]
AFTER_NAT = [("filter", -6)]


@pytest.mark.parametrize(("kind", "priority"), BEFORE_OURS + AFTER_NAT)
@pytest.mark.parametrize("family", FAMILIES)
def test_111_a_table_that_restores_marks_does_not_make_us_capture_ourselves(
    family: str, kind: str, priority: int
) -> None:
    """Rules of before: our dialled connection is redirected to our own listener, which dials, and so on; or refused."""
    with scene(INGRESS) as built:
        built.table(foreign("output", priority, "meta mark set ct mark", kind))
        built.load()
        assert spoken(made(built.host, family, MARK), PEER[family], 8080) == "passed 8080"
        assert spoken(made(built.host, family), PEER[family], 8080).startswith("captured 15001")


# The second also has connections tracked before our rules are there.
OUR_MARK, OUR_MARK_KEPT = f"meta mark set {MARK}", f"ct mark set {MARK} meta mark set ct mark"


@pytest.mark.parametrize(
    ("priority", "statement"),
    [(-199, OUR_MARK), (-150, OUR_MARK), (-106, OUR_MARK), (-150, OUR_MARK_KEPT), (-6, OUR_MARK_KEPT)],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_111_a_table_that_gives_our_mark_does_not_exempt_an_application(
    family: str, priority: int, statement: str
) -> None:
    """Rules of before: an older connection goes on, and with a mark from before our redirect new ones leave as well."""
    with scene(INGRESS) as built, wire(built) as cable:
        built.table(foreign("output", priority, statement))
        with held(built.responder, made(built.host, family), PEER[family], 8080) as (older, _):
            built.load()
            with contextlib.suppress(OSError):
                older.send(SECRET)
            assert not cable.carried(SECRET)
            assert spoken(made(built.host, family), PEER[family], 8080, words=SECRET).startswith("captured 15001")
            assert not cable.carried(SECRET)


@pytest.mark.parametrize("hook", ["prerouting", "input"])
@pytest.mark.parametrize("family", FAMILIES)
def test_111_a_table_that_gives_our_mark_lets_nobody_reach_a_service(family: str, hook: str) -> None:
    """On an egress. Rules of before: marks of input let older connections go on, those of prerouting new ones too."""
    with scene(EGRESS) as built:
        built.table(foreign(hook, -150, OUR_MARK_KEPT))
        with held(built.responder, made(built.peer, family), HOST[family], 8080) as (older, far):
            built.load()
            older.send(SECRET)
            assert spoken(made(built.peer, family), HOST[family], 22) == "passed 22", "what came before has arrived"
            assert bytes(far.received) == b"hello"
            assert spoken(made(built.peer, family), HOST[family], 8080).startswith("captured 16001")
