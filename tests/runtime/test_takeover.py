"""One instance takes over from another: nothing is dropped or refused, and what fails leaves the old one alone."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

from runtime.processes import children, connections, connections_at_all, only, reset, until, works
from runtime.senders import MARKER, Senders, assert_no_plaintext
from runtime.tunnels import BOTH, CAPTURE, NO_RA, PORT, RUNTIME, Tunnel, compiled, ends, tables
from tng_demo import tunnel
from tng_demo.lab import Host
from tng_demo.process import Process
from tng_demo.scene import CLIENT_CONFIG, PAGE, SERVER_CONFIG, Scene

pytestmark = pytest.mark.netns

PATIENCE = 60.0

__all__ = ["ends"]


def ruleset(host: Host) -> str:
    text = host.run("nft", "list", "ruleset").stdout
    return re.sub(r"packets \d+ bytes \d+|progname \S+|# .*", "", text)


def taken_over(ends: Tunnel, *options: str) -> Process:
    return ends.start("client", *options)


class Clients:
    """Threads that make short connections through the tunnel, one after the other, and count what went wrong."""

    def __init__(self, ends: Tunnel, count: int = 3) -> None:
        self._ends = ends
        self.made, self.problems = 0, list[str]()
        self._stop, self._over = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._echo = threading.Thread(target=self._accept)
        self._threads = [threading.Thread(target=self._connect) for _ in range(count)]

    def __enter__(self) -> Clients:
        for thread in (self._echo, *self._threads):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)
        self._over.set()
        self._echo.join(2 * PATIENCE)

    def some_more(self, count: int = 20) -> None:
        wanted = self.made + count
        until(lambda: self.made >= wanted or bool(self.problems), "connections do not get through")

    def _accept(self) -> None:
        self._ends.listener.settimeout(0.2)
        while not self._over.is_set():
            try:
                far, _ = self._ends.listener.accept()
            except TimeoutError:
                continue
            try:
                with far:
                    far.settimeout(PATIENCE)
                    far.sendall(far.recv(100))
                    assert far.recv(1) == b""
            except (OSError, AssertionError) as error:
                self.problems.append(f"the server saw {error!r}")

    def _connect(self) -> None:
        with self._ends.lab["client"].inside():
            while not self._stop.is_set():
                try:
                    with socket.create_connection((self._ends.lab["server"].ipv4, PORT), timeout=PATIENCE) as near:
                        near.sendall(b"hello")
                        assert near.recv(100) == b"hello"
                        near.shutdown(socket.SHUT_WR)
                    with self._lock:
                        self.made += 1
                except (OSError, AssertionError) as error:
                    self.problems.append(repr(error))


def test_open_connections_go_on_and_new_ones_are_the_new_instances(ends: Tunnel) -> None:
    ends.start("server")
    old = ends.start("client", "--workers", "2")
    before = ruleset(ends.lab["client"])
    with connections(ends, 6) as made:
        new = taken_over(ends, "--workers", "1")
        old.wait_for("event=handed_over", PATIENCE)
        assert ruleset(ends.lab["client"]) == before
        with connections(ends, 6) as later:
            assert all(works(*both) for both in made + later)
            assert old.alive()
            for sock in (sock for both in made for sock in both):
                sock.close()
            assert old.wait(PATIENCE) == 0, "nothing of it is left"
            assert all(works(*both) for both in later)
            assert tables(ends.lab["client"]) == BOTH
        assert len(children(new, "worker")) == 1
    assert "relayed=6" in old.output().splitlines()[-1]
    assert new.stop() == 0, new.output()
    assert ends.lab["client"].run("ls", "/run").stdout == ""


@pytest.mark.timeout(300)
def test_under_load_nothing_is_dropped_and_nothing_refused(ends: Tunnel) -> None:
    ends.start("server")
    run = ends.start("client")
    with Clients(ends) as clients:
        for number in range(60):
            clients.some_more(10)
            new = taken_over(ends, "--workers", str(1 + number % 2))
            assert run.wait(PATIENCE) == 0, run.output()
            run = new
        clients.some_more()
    assert clients.problems == []
    assert run.stop() == 0, run.output()


def test_the_egress_is_taken_over_as_well(ends: Tunnel) -> None:
    run = ends.start("server")
    ends.start("client")
    with Clients(ends) as clients:
        for _ in range(4):
            clients.some_more()
            new = ends.start("server")
            assert run.wait(PATIENCE) == 0, run.output()
            run = new
        clients.some_more()
    assert clients.problems == []


def test_after_drain_the_rest_is_reset(ends: Tunnel) -> None:
    ends.start("server")
    old = ends.start("client")
    with connections(ends, 3) as made:
        taken_over(ends, "--drain", "0.2")
        for near, far in made:
            assert reset(near)
            assert reset(far)
        assert old.wait(PATIENCE) == 0, old.output()
        with connections(ends, 1) as later:
            assert works(*later[0])


def test_a_second_signal_ends_what_the_old_one_still_has(ends: Tunnel) -> None:
    ends.start("server")
    old = ends.start("client")
    with connections(ends, 2) as made:
        new = taken_over(ends)
        old.wait_for("event=draining", PATIENCE)
        old.popen.send_signal(signal.SIGTERM)
        assert old.wait(PATIENCE) == 0, old.output()
        assert all(reset(near) for near, _ in made)
    assert tables(ends.lab["client"]) == BOTH
    with connections(ends, 1) as later:
        assert works(*later[0])
    assert new.stop() == 0, new.output()


def goes_on(ends: Tunnel, old: Process, made: list[tuple[socket.socket, socket.socket]]) -> None:
    assert old.alive()
    assert all(works(*both) for both in made)
    with connections(ends, 4) as later:
        assert all(works(*both) for both in later)


def test_what_fails_leaves_the_old_instance_as_it_was(ends: Tunnel) -> None:
    """A manifest that is none, an agent that is absent, a port that is taken."""
    client = ends.lab["client"]
    ends.start("server")
    old = ends.start("client")
    before = ruleset(client)
    bad = client.state / "bad"
    bad.mkdir(mode=0o700)
    (bad / "manifest.json").write_text("{}")
    with connections(ends, 3) as made:
        done = client.run(RUNTIME, "run", str(bad), check=False)
        assert done.returncode == 1, done
        attests = {"add_ingress": [{"netfilter": CAPTURE, "attest": {"aa_addr": "unix:///run/absent.sock"}}]}
        done = client.run(RUNTIME, "run", str(compiled(client, attests)), check=False)
        assert done.returncode == 3, done
        assert "/run/absent.sock" in done.stderr
        assert "goes on as before" in done.stderr
        other = {"add_ingress": [{"netfilter": {**CAPTURE, "listen_port": 15555}, **NO_RA}]}
        with client.inside(), socket.create_server(("127.0.0.1", 15555)):
            done = client.run(RUNTIME, "run", str(compiled(client, other)), check=False)
        assert done.returncode == 3, done
        assert "15555" in done.stderr
        assert ruleset(client) == before
        goes_on(ends, old, made)
    assert "takeover_failed" in old.output()
    assert old.stop() == 0


def test_another_document_with_another_port_is_taken_over(ends: Tunnel) -> None:
    client = ends.lab["client"]
    ends.start("server")
    old = ends.start("client")
    other = {"add_ingress": [{"netfilter": {**CAPTURE, "listen_port": 15555}, **NO_RA}]}
    ends.client = compiled(client, other)
    with connections(ends, 2) as made:
        new = taken_over(ends)
        old.wait_for("event=handed_over", PATIENCE)
        assert all(works(*both) for both in made)
        with connections(ends, 2) as later:
            assert all(works(*both) for both in later)
        assert "redirect to :15555" in client.run("nft", "list", "table", "inet", "tng").stdout
    assert old.wait(PATIENCE) == 0, old.output()
    assert new.stop() == 0, new.output()


@pytest.mark.parametrize("victim", ["judge", "supervisor"])
def test_a_new_instance_that_is_killed_on_its_way_changes_nothing(ends: Tunnel, victim: str) -> None:
    client = ends.lab["client"]
    ends.start("server")
    old = ends.start("client")
    before = ruleset(client)
    attests = {"add_ingress": [{"netfilter": CAPTURE, "attest": {"aa_addr": "unix:///run/silent.sock"}}]}
    directory = compiled(client, attests)
    with connections(ends, 2) as made, socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(client.state / "run" / "silent.sock"))
        agent.listen()
        agent.settimeout(PATIENCE)
        new = client.start(RUNTIME, "run", str(directory))
        asked, _ = agent.accept()
        with asked:
            os.kill(new.pid if victim == "supervisor" else only(new, victim), signal.SIGKILL)
            assert new.wait(PATIENCE) != 0
        old.wait_for("event=takeover_failed", PATIENCE)
        assert ruleset(client) == before
        goes_on(ends, old, made)


def test_a_worker_that_dies_in_between_costs_its_own_connections_alone(ends: Tunnel) -> None:
    ends.start("server")
    run = ends.start("client", "--workers", "2")
    with connections_at_all(ends, run) as made:
        new = taken_over(ends, "--workers", "2")
        run.wait_for("event=handed_over", PATIENCE)
        os.kill(children(run, "worker")[0], signal.SIGKILL)
        with connections(ends, 4) as later:
            assert all(works(*both) for both in later)
        alive = 0
        for near, far in made:
            try:
                alive += works(near, far)
            except OSError:
                assert reset(far)
        assert 0 < alive < len(made), run.output()
    assert run.wait(PATIENCE) == 0, run.output()
    assert new.stop() == 0, new.output()


def test_another_user_is_told_nothing(ends: Tunnel, tmp_path: Path) -> None:
    run = ends.start("client")
    client = ends.lab["client"]
    (path,) = [name for name in client.run("ls", "/run/tng").stdout.split() if name.endswith(".sock")]
    done = client.run("setpriv", "--reuid=65534", "--clear-groups", "ls", f"/run/tng/{path}", check=False)
    assert done.returncode != 0, "the directory is its user's alone"
    assert run.stop() == 0, run.output()


def test_a_hangup_reads_the_directory_again(ends: Tunnel) -> None:
    """The new instance is a process of its own; one that cannot read what is there changes nothing."""
    client = ends.lab["client"]
    ends.start("server")
    path = client.state / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(PATIENCE)
        run = client.start(RUNTIME, "run", str(ends.client), "--workers", "1", env={"NOTIFY_SOCKET": str(path)})
        assert manager.recv(200).startswith(b"READY=1")
        manifest = ends.client / "manifest.json"
        good = manifest.read_bytes()
        with connections(ends, 2) as made:
            manifest.write_bytes(b"{}")
            run.popen.send_signal(signal.SIGHUP)
            assert manager.recv(200).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert b"failed" in manager.recv(200)
            assert "exit_status=1" in run.wait_for("event=reload_failed.*", PATIENCE)[0]
            goes_on(ends, run, made)
            manifest.write_bytes(good)
            run.popen.send_signal(signal.SIGHUP)
            assert manager.recv(200).startswith(b"RELOADING=1")
            ready, main, *_ = manager.recv(200).decode().splitlines()
            assert ready == "READY=1"
            assert main != f"MAINPID={run.pid}"
            with connections(ends, 2) as later:
                assert all(works(*both) for both in made + later)
    assert run.wait(PATIENCE) == 0, run.output()
    heir = int(main.removeprefix("MAINPID="))
    assert heir in run.all_pids()
    os.kill(heir, signal.SIGTERM)
    until(lambda: not run.all_pids(), "the new one does not end")
    assert tables(client) == BOTH


def blocks_hangups(pid: int) -> bool:
    """Those alone (proc(5), SigBlk): between a fork and what it executes Python blocks all signals."""
    found = re.search(r"^SigBlk:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text("ascii"), re.MULTILINE)
    return found is not None and int(found[1], 16) == 1 << (signal.SIGHUP - 1)


def test_a_hangup_during_the_start_or_the_end_kills_nobody(ends: Tunnel) -> None:
    run = ends.start("client", "--workers", "1", wait=False)
    until(lambda: blocks_hangups(run.pid), "it does not begin")
    while "event=serving" not in run.output():
        assert run.alive(), (run.popen.returncode, run.output())
        run.popen.send_signal(signal.SIGHUP)
        os.killpg(run.pid, signal.SIGHUP)
    assert run.wait(PATIENCE) == 0, run.output()
    assert "event=reloading" in run.output()
    until(lambda: "event=taken_over" in run.output(), "nobody takes over")
    server = ends.start("server", "--workers", "1")
    server.popen.send_signal(signal.SIGTERM)
    while server.alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGHUP)
    assert server.wait() == 0, server.output()

    def ended() -> bool:
        # One more reload may be under way: who is told to end may have handed over, or have a successor that starts.
        with contextlib.suppress(LookupError, ValueError, OSError):
            os.kill(holder(ends.lab["client"]), signal.SIGTERM)
        return not run.all_pids()

    until(ended, "the new one does not end")


def holder(host: Host) -> int:
    """The process that serves, by what it wrote into the lock."""
    (path,) = (host.state / "run" / "tng").glob("*.lock")
    return int(path.read_text().splitlines()[0])


def hang_up(host: Host) -> int:
    """SIGHUP to who serves; who serves then."""
    before = holder(host)
    os.kill(before, signal.SIGHUP)
    until(lambda: holder(host) != before, "nobody takes over")
    return holder(host)


def test_hangups_and_applies_in_any_order(scene: Scene) -> None:
    """What `tng apply` compiled stays as long as a run needs it, and no longer; one run of each keeps connections."""
    client = scene.client
    tunnel.serve(scene.server, SERVER_CONFIG)
    runs = [tunnel.apply(client, CLIENT_CONFIG)]
    with contextlib.ExitStack() as stack:
        held = []
        for step in ("hangup", "hangup", "apply", "apply", "hangup", "hangup", "hangup"):
            with client.inside():
                near = socket.create_connection((scene.server.ipv4, PORT), timeout=PATIENCE)
            held.append(stack.enter_context(near))
            near.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n")
            if step == "apply":
                runs.append(tunnel.apply(client, CLIENT_CONFIG))
            else:
                hang_up(client)
            assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE
        for near in held:
            near.sendall(b"\r\n")
            assert near.recv(1000).startswith(b"HTTP/1.")
    for run in runs:
        assert run.wait(PATIENCE) == 0, run.output()
    serves = holder(client)
    assert hang_up(client) != serves, "nothing is left of the run that had compiled it"
    assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE
    until(lambda: not Path(f"/proc/{serves}").exists(), "the one before does not end")
    os.kill(holder(client), signal.SIGTERM)
    until(lambda: not (client.state / "run" / "tng").exists(), "something stays")


def test_a_hangup_while_another_one_is_being_done_is_not_lost(ends: Tunnel) -> None:
    """It came after the documents were read: they are read once more, by whoever serves then."""
    client = ends.lab["client"]
    ends.start("server")
    run = ends.start("client", "--workers", "1")
    with connections(ends, 1) as made:
        for port in (15601, 15602):
            compiled(client, {"add_ingress": [{"netfilter": {**CAPTURE, "listen_port": port}, **NO_RA}]})
            run.popen.send_signal(signal.SIGHUP)
            if port == 15601:
                run.wait_for("event=takeover_begins", PATIENCE)
        until(
            lambda: "redirect to :15602" in client.run("nft", "list", "table", "inet", "tng").stdout,
            "the last document is not in force",
        )
        assert all(works(*both) for both in made)
        with connections(ends, 2) as later:
            assert all(works(*both) for both in later)


def test_a_hangup_after_one_that_failed_is_done(ends: Tunnel) -> None:
    client = ends.lab["client"]
    ends.start("server")
    run = ends.start("client", "--workers", "1")
    attests = {"add_ingress": [{"netfilter": CAPTURE, "attest": {"aa_addr": "unix:///run/silent.sock"}}]}
    compiled(client, attests)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(client.state / "run" / "silent.sock"))
        agent.listen()
        agent.settimeout(PATIENCE)
        run.popen.send_signal(signal.SIGHUP)
        asked, _ = agent.accept()
        compiled(client, {"add_ingress": [{"netfilter": {**CAPTURE, "listen_port": 15602}, **NO_RA}]})
        run.popen.send_signal(signal.SIGHUP)
        run.popen.send_signal(signal.SIGHUP)
    asked.close()
    run.wait_for("event=reload_failed", PATIENCE)
    assert run.wait(PATIENCE) == 0, run.output()
    assert "redirect to :15602" in client.run("nft", "list", "table", "inet", "tng").stdout
    with connections(ends, 2) as made:
        assert all(works(*both) for both in made)


VERIFY = {"as_addr": "http://127.0.0.1:9/", "policy_ids": ["default"]}


def test_who_was_captured_for_an_entry_is_not_carried_on_the_terms_of_its_ports_next_one(ends: Tunnel) -> None:
    """The worker stands still, and what waits for it was captured by an entry that verifies; the peer proves nothing.

    In the next document the port belongs to an entry without attestation, about other destinations.
    """
    client = ends.lab["client"]
    ends.start("server")
    verifies = {"netfilter": CAPTURE, "verify": VERIFY}
    directory = compiled(client, {"add_ingress": [verifies]})
    old = client.start(RUNTIME, "run", str(directory), "--workers", "1")
    old.wait_for(r"event=serving\b", PATIENCE)
    worker = only(old, "worker")
    compiled(client, {"add_ingress": [{"netfilter": {"capture_dst": {"port": 9999}}, **NO_RA}, verifies]})
    os.kill(worker, signal.SIGSTOP)
    with client.inside():
        near = socket.create_connection((ends.lab["server"].ipv4, PORT), timeout=PATIENCE)
    with near:
        near.sendall(b"for a verified peer alone")
        old.popen.send_signal(signal.SIGHUP)
        with pytest.raises(ConnectionResetError):
            near.recv(1)
        old.wait_for("event=turned_away connections=1", PATIENCE)
    assert f"event=worker_killed pid={worker}" in old.output(), "it would accept when it goes on"
    assert old.wait(PATIENCE) == 0, old.output()
    ends.listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        ends.listener.accept()


def test_a_port_that_the_next_document_lacks_refuses_while_the_old_instance_drains(ends: Tunnel) -> None:
    """It has the port open until it ends: who came there waited as long as that."""
    client = ends.lab["client"]
    ends.start("server")
    door = {"in": {"host": "127.0.0.1", "port": 7000}, "out": {"host": ends.lab["server"].ipv4, "port": PORT}}
    capture = {"netfilter": CAPTURE, **NO_RA}
    old = client.start(
        RUNTIME, "run", str(compiled(client, {"add_ingress": [capture, {"mapping": {"rules": [door]}, **NO_RA}]}))
    )
    old.wait_for(r"event=serving\b", PATIENCE)
    with connections(ends, 1) as made:
        compiled(client, {"add_ingress": [capture]})
        old.popen.send_signal(signal.SIGHUP)
        old.wait_for("event=taken_over", PATIENCE)
        assert old.alive()
        with client.inside(), pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 7000), timeout=PATIENCE)
        assert all(works(*both) for both in made)
        with connections(ends, 2) as later:
            assert all(works(*both) for both in later)
    assert old.wait(PATIENCE) == 0, old.output()


def test_a_port_that_is_used_again_after_a_restart_meets_the_entry_of_now(ends: Tunnel) -> None:
    """Connection tracking remembers for 10 s where the rules of before led what was reset."""
    client, there = ends.lab["client"], (ends.lab["server"].ipv4, PORT)
    ends.start("server")
    verifies = {"netfilter": CAPTURE, "verify": VERIFY}
    old = client.start(RUNTIME, "run", str(compiled(client, {"add_ingress": [verifies]})))
    old.wait_for(r"event=serving\b", PATIENCE)
    with client.inside(), socket.create_connection(there, timeout=PATIENCE) as first:
        place = first.getsockname()
        with pytest.raises(ConnectionResetError):
            first.recv(1)
    assert old.stop() == 0
    compiled(client, {"add_ingress": [{"netfilter": {"capture_dst": {"port": 9999}}, **NO_RA}, verifies]})
    new = client.start(RUNTIME, "run", str(ends.client))
    new.wait_for(r"event=serving\b", PATIENCE)
    with client.inside(), socket.socket() as again:
        again.settimeout(PATIENCE)
        again.bind(place)
        again.connect(there)
        again.sendall(b"for a verified peer alone")
        with pytest.raises(ConnectionResetError):
            again.recv(1)
    new.wait_for("event=refused code=RA-CERT-NO-EVIDENCE", PATIENCE)
    ends.listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        ends.listener.accept()


def test_who_waits_is_served_on_if_its_entry_has_another_place_in_the_next_document(ends: Tunnel) -> None:
    client = ends.lab["client"]
    ends.start("server")
    old = ends.start("client", "--workers", "1")
    compiled(
        client,
        {"add_ingress": [{"netfilter": {"capture_dst": {"port": 9999}}, **NO_RA}, {"netfilter": CAPTURE, **NO_RA}]},
    )
    os.kill(only(old, "worker"), signal.SIGSTOP)
    with client.inside():
        near = socket.create_connection((ends.lab["server"].ipv4, PORT), timeout=PATIENCE)
    with near:
        near.sendall(b"hello")
        old.popen.send_signal(signal.SIGHUP)
        ends.listener.settimeout(PATIENCE)
        far, _ = ends.listener.accept()
        with far:
            far.settimeout(PATIENCE)
            assert far.recv(5) == b"hello"
            assert works(near, far)


def test_who_has_handed_over_reloads_no_more_and_has_nothing_to_say_of_its_heirs_end(ends: Tunnel) -> None:
    client = ends.lab["client"]
    ends.start("server")
    run = ends.start("client", "--workers", "1")
    with connections(ends, 1) as made:
        run.popen.send_signal(signal.SIGHUP)
        run.wait_for("event=handed_over", PATIENCE)
        run.wait_for(r"event=serving\b.*\n(?:.*\n)*.*event=serving\b", PATIENCE)
        heir = int(*client.run("sh", "-c", "cat /run/tng/*.lock").stdout.split())
        ended = os.pidfd_open(heir)
        os.kill(heir, signal.SIGTERM)
        assert select.select([ended], [], [], PATIENCE)[0]
        os.close(ended)
        run.popen.send_signal(signal.SIGHUP)
        run.wait_for("event=not_reloading", PATIENCE)
        assert all(works(*both) for both in made)
    assert run.wait(PATIENCE) == 0, run.output()
    assert run.output().count("event=reloading") == 1
    assert "reload_failed" not in run.output()


def test_an_instance_that_drains_without_end_has_a_judge_as_long_as_one_can_be_asked(ends: Tunnel) -> None:
    ends.start("server")
    old = ends.start("client")
    with connections(ends, 2) as made:
        taken_over(ends)
        old.wait_for("event=draining", PATIENCE)
        os.kill(only(old, "judge"), signal.SIGKILL)
        old.wait_for("event=judge_died", PATIENCE)
        old.wait_for("event=judge_replaced", PATIENCE)
        assert len(children(old, "judge")) == 1
        assert all(works(*both) for both in made)
    assert old.wait(PATIENCE) == 0, old.output()


def test_the_judge_goes_when_nobody_can_ask_it_any_more(ends: Tunnel) -> None:
    """It would get certificates for days that nobody shows. Its minute is a second here."""
    client = ends.lab["client"]
    ends.start("server")
    program = "import sys; from tng_runtime import __main__; from tng_runtime.serve import team; "
    program += "team.JUDGE_SECONDS = 1; sys.exit(__main__.main())"
    old = client.start(sys.executable, "-c", program, "run", str(ends.client))
    old.wait_for("event=serving", PATIENCE)
    with connections(ends, 2) as made:
        new = taken_over(ends)
        old.wait_for("event=judge_dismissed", PATIENCE)
        until(lambda: not children(old, "judge"), "it is still there")
        assert all(works(*both) for both in made)
        assert len(children(new, "judge")) == 1
    assert old.wait(PATIENCE) == 0, old.output()
    assert "_died" not in old.output()


def test_no_plaintext_leaves_while_instances_and_workers_change(scene: Scene, tmp_path: Path) -> None:
    """With a document that is none and a worker that is killed in between."""
    tunnel.serve(scene.server, SERVER_CONFIG)
    first = run = tunnel.run(scene.client, CLIENT_CONFIG, tmp_path)
    bad = scene.client.state / "bad"
    bad.mkdir(mode=0o700)
    with scene.wire() as wire, Senders(scene.client, scene.server.ipv4) as senders:
        for number in range(6):
            senders.wait_for_writes(senders.writes + 100)
            if number == 2:
                assert scene.client.run(RUNTIME, "run", str(bad), check=False).returncode == 1
            if number == 3:
                assert senders.failures == 0
                os.kill(children(run, "worker")[0], signal.SIGKILL)
                run.wait_for("event=worker_replaced", PATIENCE)
            run = tunnel.run(scene.client, CLIENT_CONFIG, tmp_path)
            assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE
        senders.wait_for_writes(senders.writes + 100)
        assert first.alive(), "its connections go on"
    assert_no_plaintext(wire, MARKER[:24], PAGE.encode())
    assert first.wait(PATIENCE) == 0, first.output()
    assert run.stop() == 0, run.output()
