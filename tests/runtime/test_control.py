"""The control interface of a real run: over its unix socket and over TCP, while it starts, serves and is taken over."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from runtime.processes import children, only, until, works
from runtime.tunnels import CAPTURE, NO_RA, PORT, RUNTIME, Tunnel, compiled, ends
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_demo.process import PATIENCE
from tng_schema import contract

pytestmark = pytest.mark.netns

__all__ = ["ends"]

CONTROL = 50000


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))


def run_directory(pid: int) -> Path:
    """As that process sees it: each host of a lab has its own."""
    return Path(f"/proc/{pid}/root{contract.RUN_DIRECTORY}")


def status_socket(pid: int) -> Path:
    (found,) = run_directory(pid).glob(f"tng.*.{pid}{contract.STATUS_SUFFIX}")
    return found


def get(where: Path | tuple[str, int], path: str, **headers: str) -> tuple[int, str]:
    connection = UnixConnection(where) if isinstance(where, Path) else http.client.HTTPConnection(*where, PATIENCE)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def said(pid: int) -> dict[str, Any]:
    code, body = get(status_socket(pid), "/status/")
    assert code == 200
    found = json.loads(body)
    assert isinstance(found, dict)
    return found


def metrics(pid: int) -> dict[str, float]:
    """Values by name and labels."""
    code, body = get(status_socket(pid), "/metrics")
    assert code == 200
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(body)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


def test_status_readiness_and_metrics_tell_of_one_connection_from_its_beginning_to_its_end(ends: Tunnel) -> None:
    server, client = ends.start("server"), ends.start("client", "--workers", "2")
    path = status_socket(client.pid)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert get(path, "/livez") == (200, "ok")
    assert get(path, "/readyz") == (200, "ok")
    near, far = ends.connect()
    with near, far:
        assert works(near, far)
        until(lambda: said(client.pid)["entries"][0]["bytes_sent"] == 9, "the bytes of an open connection")
        found = said(client.pid)
        (entry,) = found["entries"]
        assert (entry["accepted"], entry["opened"], entry["open"], entry["closed"]) == (1, 1, 1, {})
        assert (found["state"], found["problems"], found["pending"]) == ("serving", [], [])
        assert (found["workers"]["alive"], found["rules"]["in_place"]) == (2, True)
        # The rules are looked at once a second.
        until(lambda: said(client.pid)["rules"]["counters"]["tng"]["ingress_0_captured"] == 1, "the rules' figures")
        assert entry["trust"] == {"attests": None, "verifies": None}
        (open_one,) = json.loads(get(path, "/connections")[1])["connections"]
        assert (open_one["src"], open_one["bytes_sent"]) == (":".join(map(str, near.getsockname())), 9)
        (same,) = json.loads(get(status_socket(server.pid), "/connections")[1])["connections"]
        assert (same["leg"], same["src"]) == (open_one["leg"], open_one["leg"])
        until(lambda: said(server.pid)["entries"][0]["bytes_sent"] == 9, "what both ends call sent is the same")
    until(lambda: said(client.pid)["entries"][0]["open"] == 0, "it has ended")
    labels = [("entry", "/add_ingress/0"), ("role", "ingress")]
    found = metrics(client.pid)
    assert found[f"tng_tcp_connections_opened_total{labels}"] == 1
    assert found[f"tng_tcp_sent_bytes_total{labels}"] == 9
    assert found[f"tng_handshake_duration_seconds_count{labels}"] == 1
    assert found["tng_rules_in_place[]"] == found["tng_ready[]"] == found["tng_up[]"] == 1
    client.stop()
    assert not path.exists()


def test_who_answers_strangers_can_change_nothing_and_is_replaced(ends: Tunnel) -> None:
    run = ends.start("client", "--workers", "1")
    assert children(run, "control") == [], "nobody has asked"
    assert get(status_socket(run.pid), "/livez")[0] == 200
    pid = only(run, "control")
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
        assert re.search(rf"^{name}:\s*0+$", text, re.MULTILINE), name
    assert re.search(r"^Uid:(\s+65534){4}$", text, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", text, re.MULTILINE), "a filter (proc_pid_status(5))"
    os.kill(pid, signal.SIGKILL)
    run.wait_for("event=control_died", PATIENCE)
    assert get(status_socket(run.pid), "/livez") == (200, "ok")


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 100_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
    ids=range(8),
)
def test_nonsense_is_refused_and_the_next_one_is_answered(control: Tunnel, request_: bytes) -> None:
    with control.lab["client"].inside():
        with socket.create_connection(("127.0.0.1", CONTROL), timeout=PATIENCE) as sock:
            sock.sendall(request_)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while part := sock.recv(4096):
                    answer += part
            except ConnectionResetError:  # it did not read all of it
                pass
        assert not answer or re.match(rb"HTTP/1\.1 4\d\d ", answer), answer
        assert get(("127.0.0.1", CONTROL), "/livez") == (200, "ok")


def test_over_tcp_nobody_hears_who_is_connected_and_no_browser_is_led_there(control: Tunnel) -> None:
    with control.lab["client"].inside():
        where = ("127.0.0.1", CONTROL)
        assert get(where, "/connections")[0] == 404
        assert get(where, "/readyz", Host="rebound.example.com")[0] == 403
        assert get(where, "/readyz", Host="localhost:50000") == get(where, "/readyz", Host="[::1]:5") == (200, "ok")
        assert json.loads(get(where, "/status/")[1])["instance"] == "tng"


@pytest.fixture
def control(hosts: Lab) -> Tunnel:
    """A client's gateway whose document has a control interface."""
    interface = {"control_interface": {"restful": {"port": CONTROL}}}
    client = compiled(hosts["client"], {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}], **interface})
    made = Tunnel(hosts, client, client, socket.socket())
    made.listener.close()
    run = made.start("client", "--workers", "1")
    with hosts["client"].inside():
        until(lambda: reachable(("127.0.0.1", CONTROL)), "the control interface answers")
    assert run.pid
    return made


def reachable(where: tuple[str, int]) -> bool:
    try:
        return get(where, "/livez")[0] == 200
    except OSError:
        return False


def test_a_start_that_waits_says_for_what_and_is_not_ready(hosts: Lab) -> None:
    """There is no agent yet that answers: the listener of its socket takes connections and is silent."""
    agent = hosts["server"].state / "agent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(agent))
        silent.listen()
        document = {"add_egress": [{"netfilter": CAPTURE, "attest": {"aa_addr": f"unix://{agent}"}}]}
        made = compiled(hosts["server"], document)
        run = hosts["server"].start(RUNTIME, "run", str(made))
        until(lambda: bool(list(run_directory(run.pid).glob(f"tng.*.{run.pid}.status"))), "a start shows itself")
        path = status_socket(run.pid)
        until(lambda: get(path, "/readyz")[0] == 503 and "certificate" in get(path, "/readyz")[1], "it says so")
        assert "/add_egress/0 waits for its first certificate" in get(path, "/readyz")[1]
        assert get(path, "/livez") == (200, "ok")
        assert said(run.pid)["state"] == "starting"


def test_drift_is_told_rule_by_rule_while_it_cannot_be_undone(ends: Tunnel) -> None:
    run = ends.start("client", "--workers", "1")
    host = ends.lab["client"]
    host.run("nft", "add rule inet tng capture_output tcp dport 9999 accept")
    until(lambda: metrics(run.pid)["tng_rules_changed_total[]"] == 1, "it was noticed")
    until(lambda: said(run.pid)["rules"]["in_place"], "and undone")


def test_the_next_instance_answers_in_its_place_on_the_same_port(control: Tunnel) -> None:
    host = control.lab["client"]
    old = json.loads(in_host(control, "/status/"))["pid"]
    heir = host.start(RUNTIME, "run", str(control.client), "--workers", "1")
    heir.wait_for("event=taken_over", PATIENCE)
    until(lambda: json.loads(in_host(control, "/status/"))["pid"] == heir.pid, "the heir answers")
    assert old != heir.pid
    assert json.loads(in_host(control, "/status/"))["state"] == "serving"


def in_host(made: Tunnel, path: str) -> str:
    with made.lab["client"].inside():
        return get(("127.0.0.1", CONTROL), path)[1]


def test_what_is_captured_and_does_not_arrive_is_warned_of_by_entry(ends: Tunnel) -> None:
    """Some arrive at the same time, and those of another entry all do.

    A filter of the egress's host chooses among strangers meanwhile: a line says so, and nothing is wrong.
    """
    client, server = ends.lab["client"], ends.lab["server"]
    ports = (PORT, PORT + 1)
    compiled(client, {"add_ingress": [{"netfilter": {"capture_dst": {"port": port}}, **NO_RA} for port in ports]})
    compiled(server, {"add_egress": [{"netfilter": {"capture_dst": [{"port": port} for port in ports]}, **NO_RA}]})
    egress, run = ends.start("server", "--workers", "1"), ends.start("client", "--workers", "1")
    drops(client, "tcp dport 15001 tcp flags syn numgen inc mod 2 == 0 drop")
    drops(server, "tcp dport 16001 tcp flags syn numgen inc mod 2 == 0 drop")
    with server.inside():
        second = socket.create_server(("0.0.0.0", PORT + 1))
    with client.inside(), second, contextlib.ExitStack() as stack:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                socket.create_connection((server.ipv4, PORT), timeout=0.2)
            for port in ports:
                stack.enter_context(socket.create_connection((server.ipv4, port), timeout=PATIENCE))
        line = run.wait_for(r"level=warning event=captured_not_arrived.*", PATIENCE)[0]
        (problem,) = said(run.pid)["problems"]
        counters = said(run.pid)["rules"]["counters"]["tng"]
        egress.wait_for(r"level=info event=captured_not_arrived entry=/add_egress/0 ", PATIENCE)
        assert said(egress.pid)["problems"] == []
    found = re.search(r"entry=/add_ingress/0 captured=(\d) arrived=(\d) ", line)
    assert found
    assert int(found[1]) > int(found[2]) > 0
    assert problem.startswith(f"/add_ingress/0: captured {found[1]}, arrived {found[2]}: a filter of this host drops")
    assert [counters[f"ingress_{n}_{what}"] for n in (0, 1) for what in ("captured", "arrived")] == [6, 3, 3, 3]


def drops(host: Host, rule: str) -> None:
    """Another program's filter of the input hook, with one rule."""
    host.run("nft", "add table inet others")
    host.run("nft", "add chain inet others input { type filter hook input priority 0; }")
    host.run("nft", f"add rule inet others input {rule}")


def status(made: Tunnel, *options: str) -> tuple[int, str]:
    done = made.lab["client"].run(tunnel.TNG, "status", *options, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_tng_status_says_healthy_degraded_and_not_running_by_its_exit_code(ends: Tunnel) -> None:
    assert status(ends)[0] == 3
    ends.start("server")
    run = ends.start("client", "--workers", "1")
    near, far = ends.connect()
    with near, far:
        until(lambda: said(run.pid)["entries"][0]["bytes_sent"] == 5, "counted")
        code, text = status(ends)
        assert code == 0, text
        assert re.search(r"^tng: serving, for .* process \d+", text, re.MULTILINE)
        assert re.search(r"^    captures     tcp dport 8080$", text, re.MULTILINE)
        assert re.search(r"^    listens      127\.0\.0\.1:15001, \[::1\]:15001$", text, re.MULTILINE)
        assert re.search(r"^    connections  1 open, 1 opened \([\d.]+ ms on average\), 0 closed", text, re.MULTILINE)
        code, text = status(ends, "--connections")
        assert (code, text.splitlines()[0]) == (0, "tng: 1 open")
        assert ":".join(map(str, near.getsockname())) in text
        code, text = status(ends, "--format", "json")
        assert (code, json.loads(text)["instances"][0]["state"]) == (0, "serving")
    worker = only(run, "worker")
    os.kill(worker, signal.SIGKILL)
    run.wait_for("event=worker_replaced", PATIENCE)
    until(lambda: status(ends)[0] == 0, "it has healed")
    assert status(ends, "--instance", "other")[0] == 3
    run.stop()
    code, text = status(ends)
    assert code == 3
    assert "no instance runs on this host" in text


def test_refusals_are_told_with_their_advice(ends: Tunnel) -> None:
    """A filter of the server's host refuses what was redirected."""
    ends.start("server")
    ends.start("client", "--workers", "1")
    drops(ends.lab["server"], "tcp dport 16001 reject with tcp reset")
    where = (ends.lab["server"].ipv4, PORT)
    with (
        ends.lab["client"].inside(),
        pytest.raises(ConnectionResetError),
        socket.create_connection(where, PATIENCE) as near,
    ):
        near.recv(1)
    until(lambda: "NET-DIAL" in status(ends)[1], "the refusal is counted")
    said = status(ends)[1]
    assert "NET-DIAL 1 in the last hour: Refused: nobody listens there" in said
    assert f"  document     {ends.client} (" in said


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_status_watches_until_it_is_interrupted(ends: Tunnel, terminal: bool) -> None:
    ends.start("client", "--workers", "1")
    host = ends.lab["client"]
    # A shell starts programs in the background with SIGINT ignored, and they would inherit that here.
    argv = ["env", "--default-signal=INT", tunnel.TNG, "status", "--watch"]
    watching = host.start(*(["script", "-qec", " ".join(argv), "/dev/null"] if terminal else argv))
    first = watching.wait_for("tng: serving", PATIENCE)
    watching.wait_for("tng: serving", PATIENCE, after=first.end())
    if not terminal:
        os.kill(watching.pid, signal.SIGINT)
        assert watching.wait(PATIENCE) == 0


def test_an_instance_that_stands_still_is_not_alive(ends: Tunnel) -> None:
    run = ends.start("client", "--workers", "1")
    path = status_socket(run.pid)
    until(lambda: get(path, "/livez") == (200, "ok"), "it answers")
    os.kill(run.pid, signal.SIGSTOP)
    try:
        # A snapshot that was made just now is still given.
        until(lambda: get(path, "/livez") == (503, "the supervisor does not answer\n"), "it is noticed")
        code, text = status(ends)
        assert (code, "the supervisor does not answer" in text) == (1, True)
    finally:
        os.kill(run.pid, signal.SIGCONT)
    assert get(path, "/livez") == (200, "ok")
