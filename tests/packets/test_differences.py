"""Where rules and meaning differed: twins of addresses, sockets in TIME_WAIT, older connections of the host itself."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator

import pytest

from packets import run
from packets.attack import (
    BACKENDS,
    DEADLINE,
    HOST,
    LOOPBACK,
    MARK,
    PEER,
    await_until,
    cable,
    from_port,
    index_of,
    link_local,
    made,
    rendered,
    scene,
    spoken,
    sysctl,
    wire,
)
from packets.cgroups import cgroups, socket_in
from packets.make import config, entry
from packets.wire import FAMILIES, SECRET, held
from tng_compiler.emit import nft
from tng_compiler.model.types import Config
from tng_demo.lab import Host

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

TREE = f"tng-differences-{os.getpid()}"
APP, EXEMPT = f"{TREE}/app", f"{TREE}/exempt"
INGRESS = config(entry("ingress", 0, [{"port": 8080}]))
EVERYTHING = config(entry("ingress", 0, []))
EGRESS = config(entry("egress", 0, [{"port": 8080}]))
EGRESS_LOCAL = config(entry("egress", 0, [{"port": 8080}], local=True))
EGRESS_CGROUP = config(entry("egress", 0, [{"port": 8080}], cgroup=[APP]))
EGRESS_EXEMPT = config(entry("egress", 0, [{"port": 8080}, {"port": 9000}], nocgroup=[EXEMPT]))


def give_twin(host: Host, address: str) -> None:
    """Give the host another interface that has the same link-local address."""
    cable(host, "twin", host, "twin-end")
    for end in ("twin", "twin-end"):
        host.run("ip", "link", "set", end, "addrgenmode", "none")
        host.run("ip", "link", "set", end, "up")
    host.run("ip", "addr", "add", f"{address}/64", "dev", "twin", "nodad")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("document", [INGRESS, EVERYTHING], ids=["by_port", "everything"])
def test_a_destination_that_another_interface_has_does_not_leave(document: Config, backend: str) -> None:
    """``[fe80::1%eth0]``. Rules of before: it counts as local, and leaves in plaintext.

    The redirect cannot take it to ::1, which is not on eth0; so it is refused, or comes to nothing.
    """
    with scene(document, backend) as built, wire(built) as left:
        neighbour = link_local(built.peer)
        give_twin(built.host, neighbour)
        built.load()
        found = spoken(made(built.host, "ipv6"), neighbour, 8080, index_of(built.host), SECRET)
        assert not left.carried(SECRET)
        assert found in {"refused", "silence"} or found.startswith("captured 15001")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("older", [False, True], ids=["new", "older"])
def test_a_neighbour_with_an_address_of_the_host_reaches_no_service(older: bool, backend: str) -> None:
    """On an egress. Rules of before: by iptables it counts as this host itself, and is served unattested."""
    with scene(EGRESS, backend) as built, made(built.peer, "ipv6") as client:
        target, twin = (link_local(built.host), 8080, 0, index_of(built.peer)), link_local(built.peer)
        if older:
            client.connect(target)
            client.send(b"hello")
            assert client.recv(100) == b"passed 8080"
        give_twin(built.host, twin)
        built.load()
        found = ""
        with contextlib.suppress(OSError):
            if not older:
                client.connect(target)
            client.send(SECRET)
            found = client.recv(100).decode()
        assert not any(SECRET in each.received for each in built.responder.accepted.values()) or "captured" in found
        assert "passed" not in found


@pytest.mark.parametrize("family", FAMILIES)
def test_time_wait_of_a_captured_cgroup_lets_nobody_in(family: str) -> None:
    """A SYN that meets a socket in TIME_WAIT has no cgroup. Rules of before: it reaches the service uncaptured."""
    with cgroups(APP, EXEMPT), scene(EGRESS_CGROUP, services=False) as built:
        sock = socket_in(built.host, APP, FAMILIES[family])
        built.responder.listen(built.host, family, 8080, sock, proxy=False)
        with from_port(built.peer, family, 40000) as first:
            first.connect((HOST[family], 8080))
            before = built.responder.conversation((PEER[family], 40000))
            before.connection.shutdown(socket.SHUT_WR)
            assert first.recv(1) == b""
        states = ("ss", "-tan", "state", "time-wait", "sport", "=", ":8080")
        await_until("TIME_WAIT", lambda: ":40000" in built.host.run(*states).stdout)
        before.connection.close()
        run.load(built.host, built.plan, "nft", rendered(built))
        second = from_port(built.peer, family, 40000)
        second.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)  # tcp(7): here, data goes with the last ACK
        found = spoken(second, HOST[family], 8080)
        assert found.startswith("captured 16001") or built.responder.conversation((PEER[family], 40000)) is before
        assert spoken(made(built.peer, family), HOST[family], 8080).startswith("captured 16001"), "the rules work"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_exempt_service_of_an_egress_is_reached(family: str) -> None:
    """``nocapture_cgroup`` alone. Rules of before: the SYN+ACK has no cgroup yet, and is refused."""
    with cgroups(APP, EXEMPT), scene(EGRESS_EXEMPT, services=False) as built:
        for port, group in ((8080, EXEMPT), (9000, APP)):
            sock = socket_in(built.host, group, FAMILIES[family])
            built.responder.listen(built.host, family, port, sock, proxy=False)
        run.load(built.host, built.plan, "nft", rendered(built))
        assert spoken(made(built.peer, family), HOST[family], 8080) == "passed 8080"
        assert spoken(made(built.peer, family), HOST[family], 9000).startswith("captured 16001")


WITHHELD = "table inet withheld { chain a { type filter hook output priority 0; tcp dport 8080 tcp flags ack drop; }; }"


@pytest.mark.parametrize("document", [EGRESS, EGRESS_CGROUP, EGRESS_EXEMPT], ids=["port", "cgroup", "nocgroup"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_that_is_half_open_at_the_load_brings_nothing(family: str, document: Config) -> None:
    """The handshake's last segment, with data, meets a request, which has no cgroup. Rules of before: it is served."""
    with cgroups(APP, EXEMPT), scene(document, services=False) as built:
        sock = socket_in(built.host, APP, FAMILIES[family])
        built.responder.listen(built.host, family, 8080, sock, proxy=False)
        built.peer.run("nft", "-f", "-", stdin=WITHHELD)
        with made(built.peer, family) as client:
            client.connect((HOST[family], 8080))
            run.load(built.host, built.plan, "nft", rendered(built))
            built.peer.run("nft", "delete table inet withheld")
            client.send(SECRET)
            select.select([client], [], [], DEADLINE)
            assert not any(SECRET in each.received for each in built.responder.accepted.values())
            assert spoken(made(built.peer, family), HOST[family], 8080).startswith("captured 16001"), "the rules work"


def goes_on(first: socket.socket, second: socket.socket) -> bool:
    """Whether words arrive at the other end, first from one and then from the other, before either end breaks."""
    for speaker, hearer in ((first, second), (second, first)):
        try:
            speaker.send(SECRET)
            readable, _, _ = select.select([hearer, speaker], [], [], DEADLINE)
            if hearer not in readable or hearer.recv(100) != SECRET:
                return False
        except OSError:
            return False
    return True


@contextlib.contextmanager
def pair(client: Host, server: Host, address: str, port: int, mark: int = 0) -> Iterator[tuple[socket.socket, ...]]:
    """An established connection: the client's end, which carries ``mark``, and the server's."""
    family = "ipv6" if ":" in address else "ipv4"
    with made(server, family) as listener, made(client, family, mark) as near:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        near.connect((address, port))
        far, _ = listener.accept()
        with far:
            yield near, far


TRACKER = "table inet tracker { chain a { type filter hook input priority 0; ct state new accept; }; }"
TRACKING = pytest.mark.parametrize("tracking", ["", TRACKER], ids=["untracked", "tracked"])


@pytest.mark.parametrize("backend", BACKENDS)
@TRACKING
@pytest.mark.parametrize("first", ["client", "service"])
@pytest.mark.parametrize("address", [*LOOPBACK.values(), *HOST.values()])
def test_older_connections_of_the_host_with_itself_go_on(address: str, first: str, tracking: str, backend: str) -> None:
    """Past an ingress that captures everything. Rules of before: reset if nothing tracked them."""
    with scene(EVERYTHING, backend) as built:
        built.table(tracking)
        with pair(built.host, built.host, address, 7000) as (near, far):
            built.load()
            assert goes_on(*((near, far) if first == "client" else (far, near)))


@pytest.mark.parametrize("before", ["nothing", "reloaded", "removed"])
@pytest.mark.parametrize("first", ["client", "service"])
@pytest.mark.parametrize("family", FAMILIES)
def test_older_connections_of_our_own_sockets_go_on(family: str, first: str, before: str) -> None:
    """From before the rules, from under the same rules, and over a time with the guard alone. Rules of before: one from
    before them is reset if its peer speaks first.

    nft only: iptables cannot tell whose a segment is that arrives. Without the guard, which the runtime owns, some that
    speak while a table is being made are reset: its hook for NAT is there before its rules are.
    """
    with scene(EVERYTHING) as built:
        if before != "nothing":
            built.load()
        with pair(built.host, built.peer, PEER[family], 7000, MARK) as (near, far):
            speakers = (near, far) if first == "client" else (far, near)
            if before != "nothing":
                assert goes_on(*speakers)
            if before == "removed":
                built.table(f"table inet tng_guard\n{nft.render_guard(built.plan)}delete table inet tng")
                assert goes_on(*speakers)
            built.load()
            assert goes_on(*speakers)


@pytest.mark.parametrize("backend", BACKENDS)
@TRACKING
@pytest.mark.parametrize("first", ["client", "service"])
@pytest.mark.parametrize("address", [*LOOPBACK.values(), *HOST.values()])
def test_an_older_local_connection_to_a_captured_service_ends(
    address: str, first: str, tracking: str, backend: str
) -> None:
    """``capture_local_traffic``. Rules of before: it goes on if the service speaks first."""
    with scene(EGRESS_LOCAL, backend, services=False) as built:
        built.table(tracking)
        with pair(built.host, built.host, address, 8080) as (near, far):
            built.load()
            assert not goes_on(*((near, far) if first == "client" else (far, near)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("demux", ["0", "1"], ids=["looked_up_late", "looked_up_early"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_older_connection_of_a_captured_cgroup_ends(family: str, demux: str, backend: str) -> None:
    """The service speaks first. Rules of before, by iptables and with early demux off: it goes on, in plaintext."""
    document = config(entry("ingress", 0, [{"port": 8080}], cgroup=[APP]))
    with cgroups(APP), scene(document, backend) as built, wire(built) as left:
        sysctl(built.host, ipv4__ip_early_demux=demux, ipv4__tcp_early_demux=demux)
        with held(built.responder, socket_in(built.host, APP, FAMILIES[family]), PEER[family], 8080) as (app, far):
            run.load(built.host, built.plan, backend, rendered(built))
            far.connection.send(b"the service speaks first")
            assert spoken(made(built.host, family), PEER[family], 22) == "passed 22", "what came before has arrived"
            for _ in range(3):
                with contextlib.suppress(OSError):
                    app.send(SECRET)
            assert not left.carried(SECRET)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["from_outside", "local", "second_entry"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_listen_port_is_refused_by_an_egress_of_every_port(family: str, way: str, backend: str) -> None:
    """At every address of the host. Rules of before: it is captured, unless the redirect would not change it."""
    everything = entry("egress", 0 if way != "second_entry" else 1, [], local=True)
    other = [entry("egress", 0, [{"port": 8443}], local=True)] if way == "second_entry" else []
    second = {"ipv4": "10.77.0.9", "ipv6": "fd77::9"}
    with scene(config(*other, everything), backend) as built:
        built.host.run("ip", "addr", "add", f"{second[family]}/{32 if family == 'ipv4' else 128}", "dev", "eth0")
        built.load()
        sender = built.host if way == "local" else built.peer
        addresses = (HOST[family], second[family])
        assert [spoken(made(sender, family), address, 16001) for address in addresses] == ["refused", "refused"]
        taker = 16002 if other else 16001
        assert spoken(made(sender, family), HOST[family], 8080).startswith(f"captured {taker}")
