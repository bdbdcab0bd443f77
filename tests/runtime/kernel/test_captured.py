"""Which applications' sockets are ended when the rules go, and which are left alone."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tng_demo.lab import Host, Lab
from tng_runtime.kernel import captured, diag, nftables, sockets
from tng_runtime.manifest import Family

pytestmark = pytest.mark.netns

MARK = 565
RULES = """table inet tng
delete table inet tng
table inet tng {
  chain c { type nat hook output priority -105; meta mark != 565 tcp dport 8080 redirect to :15001; }
  chain d { type filter hook input priority 0; ct state invalid drop; }
}
"""


@pytest.fixture
def client(hosts: Lab) -> Iterator[Host]:
    with hosts["client"].inside():
        nftables.load(RULES, "tng")
        yield hosts["client"]


def dead(sock: socket.socket) -> bool:
    """Whether it was ended: an orderly end, or nothing to read, is none."""
    sock.setblocking(False)
    try:
        sock.recv(1)
    except (ConnectionAbortedError, ConnectionResetError):
        return True
    except BlockingIOError:
        pass
    return False


@pytest.mark.parametrize("mapped", [False, True], ids=["AF_INET", "v4-mapped"])
def test_captured_sockets_are_ended_and_others_left(hosts: Lab, client: Host, mapped: bool) -> None:
    target = hosts["server"].ipv4
    with ExitStack() as stack:
        with hosts["server"].inside():
            direct = stack.enter_context(socket.create_server(("0.0.0.0", 9000)))
        listener = stack.enter_context(sockets.listener("ingress", "ipv4", 15001, MARK))
        family = socket.AF_INET6 if mapped else socket.AF_INET
        app = stack.enter_context(socket.socket(family))
        app.connect((f"::ffff:{target}" if mapped else target, 8080))
        other = stack.enter_context(socket.create_connection((target, 9000), timeout=60))
        local = stack.enter_context(socket.create_server(("127.0.0.1", 9001)))
        own = stack.enter_context(socket.create_connection(("127.0.0.1", 9001), timeout=60))
        stack.enter_context(direct.accept()[0])
        stack.enter_context(local.accept()[0])
        assert captured.end("tng") == 1
        assert (dead(app), dead(other), dead(own)) == (True, False, False)
        listener.close()


def test_ipv6_alike(hosts: Lab, client: Host) -> None:
    with (
        sockets.listener("ingress", "ipv6", 15001, MARK),
        socket.create_connection((hosts["server"].ipv6, 8080), timeout=60) as app,
    ):
        assert captured.end("tng") == 1
        assert dead(app)


def test_a_half_closed_connection_that_is_still_tracked_is_left_alone(hosts: Lab, client: Host) -> None:
    with hosts["server"].inside():
        server = socket.create_server(("0.0.0.0", 9000))
    with server, socket.create_connection((hosts["server"].ipv4, 9000), timeout=60) as app, server.accept()[0] as far:
        far.shutdown(socket.SHUT_WR)
        assert app.recv(1) == b""
        assert captured.end("tng") == 0
        app.sendall(b"the rest")
        assert far.recv(100) == b"the rest"


DROPS = "table inet drops {\n chain c {\n type filter hook input priority 0\ntcp dport 15001 tcp flags syn drop\n}\n}"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_what_is_no_connection_yet_or_any_more_is_forgotten(hosts: Lab, client: Host, family: Family) -> None:
    target = (hosts["server"].ipv4 if family == "ipv4" else hosts["server"].ipv6, 8080)
    with (
        sockets.listener("ingress", family, 15001, MARK) as listener,
        socket.create_connection(target, timeout=5) as app,
        socket.create_connection(target, timeout=5) as ended,
        socket.socket(app.family) as begun,
    ):
        mine = [each.getsockname()[1] for each in (app, ended)]
        listener.setblocking(True)
        with listener.accept()[0]:
            sockets.abort(listener.accept()[0])
            client.run("nft", "-f", "-", stdin=DROPS)
            begun.setblocking(False)
            assert begun.connect_ex(target) == errno.EINPROGRESS
            mine.append(begun.getsockname()[1])

            def known() -> list[int]:
                return [port for port in mine if any(each.original[0][1] == port for each in captured.redirected())]

            assert known() == mine
            captured.forget_unfinished({15002})
            assert known() == mine
            captured.forget_unfinished({15001})
            assert known() == mine[:1]
            app.sendall(b"on")


def test_somebody_removed_the_table_before(hosts: Lab, client: Host) -> None:
    with (
        sockets.listener("ingress", "ipv4", 15001, MARK),
        socket.create_connection((hosts["server"].ipv4, 8080), timeout=60) as app,
    ):
        nftables.remove("tng")
        assert captured.end("tng") == 1
        assert dead(app)


def test_a_kernel_that_cannot_end_sockets_is_said_by_name(
    hosts: Lab, client: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(found: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(diag, "end", refuse)
    assert captured.end("tng") == 0
    assert "CONFIG_INET_DIAG_DESTROY" in capsys.readouterr().err
