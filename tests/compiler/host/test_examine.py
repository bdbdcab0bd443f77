"""``tng doctor`` on real hosts: one for each code, in the state that earns it, and one that is touched by nothing."""

from __future__ import annotations

import datetime
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from packets.cgroups import cgroups, with_cgroups
from tng_compiler.diagnostics.codes import Code
from tng_compiler.host import forwarding, network, tables
from tng_compiler.host.examine import HOST_CODES
from tng_compiler.pipeline import compile_bytes
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_schema.contract import slot

pytestmark = pytest.mark.netns

TNG = tunnel.TNG
PORT = {"capture_dst": {"port": 8080}}
SHOWN: set[Code] = set()


def shows(*codes: Code) -> Callable[[Callable[..., None]], Callable[..., None]]:
    SHOWN.update(codes)
    return lambda test: test


@pytest.fixture
def host(hosts: Lab) -> Host:
    return hosts["client"]


def ingress(netfilter: object = PORT, **trust: object) -> object:
    return {"add_ingress": [{"netfilter": netfilter, **(trust or {"no_ra": True})}]}


def doctor(
    host: Host, document: object = None, prepare: str = "", wrap: str = ""
) -> tuple[int, dict[str, dict[str, object]]]:
    """The exit status and the findings by code, once ``prepare`` was done to the mounts that it sees."""
    config = "" if document is None else str(tunnel.write_config(host.state / "config.json", document))
    done = host.run("sh", "-c", f"{prepare or 'true'} && exec {wrap} {TNG} doctor {config} --format json", check=False)
    assert "Traceback" not in done.stderr, done
    found = json.loads(done.stdout)["diagnostics"]
    assert all(item["message"].startswith("expected ") and item["help"] for item in found)
    return done.returncode, {item["code"]: item for item in found if item["code"].startswith("TNG6")}


def test_a_host_that_is_ready_has_no_findings(host: Host) -> None:
    assert doctor(host, ingress()) == (0, {})
    assert doctor(host) == (0, {})


@shows(Code.NFT_MISSING, Code.NFT_OLD, Code.BINDING_MISSING, Code.KERNEL_OLD, Code.NOT_PERMITTED)
@pytest.mark.parametrize(
    ("code", "status", "prepare", "wrap"),
    [
        (Code.NFT_MISSING, 3, "mount --bind /dev/null $(command -v nft)", ""),
        (Code.NFT_OLD, 0, "mount --bind ./old $(command -v nft)", ""),
        (Code.BINDING_MISSING, 3, "mount -t tmpfs none /usr/lib/python3/dist-packages/nftables", ""),
        (Code.KERNEL_OLD, 3, "true", "setarch --uname-2.6"),
        (Code.NOT_PERMITTED, 3, "true", "setpriv --inh-caps=-net_admin --bounding-set=-net_admin"),
    ],
)
def test_what_the_host_lacks_is_found(host: Host, code: Code, status: int, prepare: str, wrap: str) -> None:
    (host.state / "old").write_text("#!/bin/sh\necho nftables v0.9.8\n")
    (host.state / "old").chmod(0o755)
    said, found = doctor(host, None, prepare.replace("./old", str(host.state / "old")), wrap)
    assert set(found) == {code.value}
    assert said == status


def test_an_nft_that_does_not_run_is_not_said_to_be_missing(host: Host) -> None:
    _, found = doctor(
        host, None, "mount --bind /dev/null $(ldconfig -p | sed -n 's/.*libnftables.so.1.*=> //p' | head -n 1)"
    )
    assert found["TNG601"]["message"] == "expected the program nft, found one that does not run (exit 127)"


@shows(Code.RULES_REFUSED)
def test_rules_that_the_kernel_does_not_take_are_found(host: Host) -> None:
    """A table of our name that belongs to somebody else, who lives."""
    host.start("sh", "-c", "(echo 'add table inet tng { flags owner; }'; exec sleep 1000) | nft -i")
    while "inet tng" not in host.run("nft", "list", "tables").stdout:
        pass
    status, found = doctor(host, ingress())
    assert (status, set(found)) == (3, {"TNG606"})


@shows(Code.PORT_TAKEN)
def test_a_listen_port_that_is_taken_is_found_unless_our_own_run_has_it(host: Host) -> None:
    with host.inside(), socket.create_server(("127.0.0.1", 15001)):
        status, found = doctor(host, ingress())
    assert (status, set(found)) == (3, {"TNG611"})
    assert "(process " in str(found["TNG611"]["message"])
    assert found["TNG611"]["pointer"] == "/add_ingress/0"
    door = {"socks5": {"proxy_listen": {"host": "127.0.0.1", "port": 1080}}, "no_ra": True}
    with host.inside(), socket.create_server(("0.0.0.0", 1080)):
        status, found = doctor(host, {"add_ingress": [door]})
    assert (status, set(found), found["TNG611"]["pointer"]) == (3, {"TNG611"}, "/add_ingress/0/socks5")
    tunnel.apply(host, host.state / "config.json")
    assert doctor(host, ingress()) == (0, {})


@shows(Code.CGROUP_ABSENT, Code.IPSET_ABSENT)
@pytest.mark.parametrize(
    ("code", "netfilter"),
    [("TNG612", {"capture_cgroup": ["tng-nowhere.slice/a"]}), ("TNG613", {"capture_dst": {"ipset": "nowhere"}})],
)
def test_names_of_what_is_not_there_are_found(host: Host, code: str, netfilter: object) -> None:
    status, found = doctor(host, ingress(netfilter))
    assert (status, set(found)) == (3, {code})
    assert "nowhere" in str(found[code]["message"])


@shows(Code.NAT_BEFORE_OURS)
@pytest.mark.parametrize(("priority", "there"), [(-150, True), (-105, True), (-100, False)])
def test_a_nat_chain_before_ours_is_found(host: Host, priority: int, there: bool) -> None:
    chain = f"add chain ip other out {{ type nat hook output priority {priority}; }}"
    host.run("nft", f"add table ip other; {chain}")
    assert (set(doctor(host)[1]) == {"TNG621"}) is there


@shows(Code.CAPTURED_TWICE)
def test_what_another_instance_captures_is_found_whether_it_runs_or_not(host: Host) -> None:
    config = tunnel.write_config(host.state / "config.json", ingress(PORT))
    run = host.start(TNG, "apply", str(config), "--instance", "web")
    run.wait_for(r"\bevent=serving\b", 60)
    for _ in range(2):
        status, found = doctor(host, ingress({"capture_dst": {"host": "10.0.0.0/8"}}))
        assert (status, set(found)) == (0, {"TNG629"})
        assert "tng_web captures outgoing TCP to IPv4 10.0.0.0/8" in str(found["TNG629"]["message"])
        assert doctor(host, ingress({"capture_dst": {"port": 1}})) == (0, {})
        assert doctor(host, {"add_egress": [{"netfilter": PORT, "no_ra": True}]}) == (0, {})
        assert run.stop() == 0


@shows(Code.INSTANCES_MEET, Code.MARKS_APART)
def test_other_instances_that_would_be_in_the_way_are_found(host: Host) -> None:
    twin = next(name for name in map("i{}".format, range(1000)) if slot(f"tng_{name}") == slot("tng_web"))
    config = tunnel.write_config(host.state / "config.json", ingress({**PORT, "so_mark": 700}))
    run = host.start(TNG, "apply", str(config), "--instance", "web")
    run.wait_for(r"\bevent=serving\b", 60)
    _, found = doctor(host, ingress())
    assert set(found) == {"TNG625", "TNG629"}
    assert "565, 700" in str(found["TNG625"]["message"])
    done = host.run(TNG, "doctor", str(config), "--instance", twin, check=False)
    assert done.returncode == 3
    assert "error[TNG624]" in done.stdout
    host.run(TNG, "compile", str(config), "--instance", twin, "-o", str(host.state / "twin"))
    for command in ("run", "guard"):
        done = host.run(f"{TNG}-runtime", command, str(host.state / "twin"), check=False)
        assert done.returncode == 3
        assert "the same ports, labels and routing table" in done.stdout + done.stderr
    assert host.run(TNG, "doctor", str(config), "--instance", "web").returncode == 0


@shows(Code.WAY_BACK_TAKEN, Code.WAY_BACK_ASTRAY)
def test_a_way_back_that_is_anothers_or_left_or_missing_is_found(host: Host) -> None:
    document = {"add_egress": [{"netfilter": {**PORT, "client_address": "original"}, "no_ra": True}]}
    host.run("ip", "-6", "rule", "add", "fwmark", "0x3000", "table", "100")
    status, found = doctor(host, document)
    assert (status, set(found)) == (3, {"TNG627"})
    assert doctor(host, ingress()) == (0, {}), "who needs no way back is not in the way"
    host.run("ip", "-6", "rule", "del", "fwmark", "0x3000")
    run = tunnel.apply(host, tunnel.write_config(host.state / "applied.json", document))
    assert doctor(host, document) == (0, {})
    run.popen.send_signal(signal.SIGSTOP)
    host.run("ip", "rule", "del", "fwmark", "0x3000")
    assert "found none" in str(doctor(host, document)[1]["TNG628"]["message"])
    run.kill()
    host.run("nft", "flush", "ruleset")
    assert "tng down" in str(doctor(host, ingress())[1]["TNG628"]["help"]), "the rule of IPv6 is left"
    host.run(TNG, "down")
    assert doctor(host, ingress()) == (0, {})


@shows(Code.RUN_BY_UNIT)
def test_an_instance_that_a_unit_runs_is_found(host: Host) -> None:
    config = tunnel.write_config(host.state / "config.json", ingress())
    run = tunnel.apply(host, config)
    unit = f"tng-test-{os.getpid()}.slice/web.service"
    with cgroups(unit):
        join = f"echo {run.pid} > /sys/fs/cgroup/{unit}/cgroup.procs"
        subprocess.run(with_cgroups(["sh", "-c", join]), check=True)
        status, found = doctor(host, ingress())
        assert (status, set(found)) == (0, {"TNG626"})
        assert "web.service" in str(found["TNG626"]["message"])
        subprocess.run(with_cgroups(["sh", "-c", f"echo {run.pid} > /sys/fs/cgroup/cgroup.procs"]), check=True)
    assert doctor(host, ingress()) == (0, {})


@shows(Code.FLUSHED_AT_BOOT)
def test_a_flush_at_boot_is_found_where_the_service_is_wanted(tmp_path: Path) -> None:
    wants = tmp_path / "etc/systemd/system/sysinit.target.wants"
    wants.mkdir(parents=True)
    (tmp_path / "etc/nftables.conf").write_text("#!/usr/sbin/nft -f\n# flush ruleset is below\nflush ruleset\n")
    assert list(tables.removed_at_boot(tmp_path)) == []
    (wants / "nftables.service").symlink_to("/lib/systemd/system/nftables.service")
    (found,) = tables.removed_at_boot(tmp_path)
    assert (found.diagnostic.code, found.number, found.line) == (Code.FLUSHED_AT_BOOT, 3, "flush ruleset")


@shows(Code.CONNTRACK_FULL)
@pytest.mark.parametrize(("count", "there"), [(79, False), (80, True)])
def test_a_table_of_connections_that_is_nearly_full_is_found(tmp_path: Path, count: int, there: bool) -> None:
    """Its size is of the machine, and no test's to change."""
    (tmp_path / "proc/sys/net/netfilter").mkdir(parents=True)
    (tmp_path / "proc/sys/net/netfilter/nf_conntrack_count").write_text(f"{count}\n")
    (tmp_path / "proc/sys/net/netfilter/nf_conntrack_max").write_text("100\n")
    assert bool(list(network.conntrack(tmp_path))) is there


@shows(Code.AGENT_SILENT)
def test_an_agent_that_is_not_there_is_a_warning(host: Host) -> None:
    status, found = doctor(host, {"add_egress": [{"netfilter": PORT, "attest": {"aa_addr": "unix:///run/none"}}]})
    assert (status, set(found)) == (0, {"TNG631"})
    assert found["TNG631"]["pointer"] == "/add_egress/0/attest"


@contextmanager
def service(host: Host, *, tls: bool = False, status: int = 200, ahead: float = 0) -> Iterator[str]:
    """An HTTP server on ``host`` whose clock is wrong by ``ahead`` seconds; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/certificate"
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(datetime.datetime.now().timestamp() + ahead)

        def log_message(self, *_: object) -> None:
            pass

    with host.inside():
        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        pem = host.state / "service.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", str(pem), "-out", f"{pem}.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{pem}.crt", pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def verifying(address: str) -> object:
    return ingress(verify={"as_addr": address, "policy_ids": ["default"]})


@shows(Code.SERVICE_UNREACHABLE)
def test_a_service_that_is_not_there_or_fails_is_found(host: Host) -> None:
    status, found = doctor(host, verifying("http://127.0.0.1:9/"))
    assert (status, set(found)) == (0, {"TNG632"})
    assert "Connection refused" in str(found["TNG632"]["message"])
    with service(host, status=503) as address:
        assert "status 503" in str(doctor(host, verifying(address))[1]["TNG632"]["message"])
    with service(host) as address:
        assert doctor(host, verifying(address)) == (0, {})


@shows(Code.SERVICE_CERTIFICATE, Code.CERTIFICATES_UNUSABLE)
def test_a_service_whose_certificate_nobody_knows_is_found_unless_its_ca_is_named(host: Host) -> None:
    with service(host, tls=True) as address:
        _, found = doctor(host, verifying(address))
        assert set(found) == {"TNG633"}
        assert "this host trusts, found: self-signed" in str(found["TNG633"]["message"])
        assert "as_ca_paths" in str(found["TNG633"]["help"])
        ca = host.state / "service.pem.crt"
        named = {"as_addr": address, "policy_ids": ["default"], "as_ca_paths": [str(ca)]}
        assert doctor(host, ingress(verify=named)) == (0, {})
        ca.write_text("no certificate")
        status, found = doctor(host, ingress(verify={**named, "trusted_certs_paths": ["/nowhere"]}))
    assert (status, set(found)) == (3, {"TNG635"})


@shows(Code.CLOCKS_APART)
def test_a_service_with_another_time_is_found(host: Host) -> None:
    with service(host, ahead=3600) as address:
        assert set(doctor(host, verifying(address))[1]) == {"TNG634"}


@shows(Code.IPV6_OFF)
def test_ipv6_that_is_switched_off_is_found(host: Host) -> None:
    host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    assert set(doctor(host, ingress())[1]) == {"TNG641"}
    assert doctor(host, ingress({**PORT, "ipv6": "reject"})) == (0, {})


@shows(Code.CLIENT_PORTS)
def test_ports_of_clients_that_are_taken_for_those_of_services_are_found(host: Host) -> None:
    assert doctor(host, ingress()) == (0, {})
    host.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535")
    assert "found 1024 to 65535" in str(doctor(host, ingress())[1]["TNG645"]["message"])
    assert doctor(host, ingress({**PORT, "udp": "bypass"})) == (0, {})


@shows(Code.CONTAINERS_HERE)
@pytest.mark.parametrize(("forwarded", "severity"), [("reject", "note"), ("bypass", "warning")])
def test_a_bridge_of_containers_is_found_where_the_host_forwards(host: Host, forwarded: str, severity: str) -> None:
    document = ingress({**PORT, "forwarded": forwarded})
    host.run("ip", "link", "add", "docker0", "type", "bridge")
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    assert doctor(host, document) == (0, {})
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    _, found = doctor(host, document)
    assert (set(found), found["TNG642"]["severity"]) == ({"TNG642"}, severity)
    assert "docker0" in str(found["TNG642"]["message"])


@shows(Code.INTERFACE_UNUSABLE, Code.INTERFACE_LEADS_OUT)
def test_interfaces_from_which_nothing_or_too_much_is_captured_are_found(host: Host) -> None:
    by_kind = ingress({**PORT, "forwarded": "capture"})
    named = ingress({**PORT, "forwarded": "capture", "forwarded_interfaces": ["docker0", "br-*"]})

    def found(document: object) -> dict[str, str]:
        """What is said of interfaces, asked for in this process: the whole of ``tng doctor`` takes a second."""
        plan = compile_bytes("x", json.dumps(document).encode()).plan
        assert plan
        with host.inside():
            said = [finding.diagnostic for finding in forwarding.forwarded(plan)]
        return {each.code.value: each.message for each in said}

    status, whole = doctor(host, named)
    assert (status, set(whole)) == (0, {"TNG643"}), "docker0 is not there"
    host.run("ip", "link", "add", "docker0", "type", "bridge")
    assert "on docker0" in found(named)["TNG643"]
    assert "on docker0" in found(by_kind)["TNG643"], "it has no address"
    host.run("ip", "addr", "add", "172.17.0.1/16", "dev", "docker0")
    host.run("ip", "addr", "add", "fd17::1/64", "dev", "docker0", "nodad")
    assert found(named) == found(by_kind) == {}
    host.run("ip", "route", "add", "default", "dev", "eth0")
    assert "found eth0" in found(by_kind)["TNG644"], "one end of a veth pair, by which this host goes out"
    assert found(named) == {}
    host.run("ip", "link", "add", "link", "eth0", "name", "card", "type", "macvlan")
    host.run("ip", "link", "set", "card", "master", "docker0")
    assert "found docker0" in found(named)["TNG644"], "a card is on the bridge"


def test_every_code_of_the_host_is_shown() -> None:
    assert set(HOST_CODES) == SHOWN


def test_all_findings_come_at_once_and_nothing_is_touched(host: Host) -> None:
    host.run("nft", "add table ip other; add chain ip other out { type nat hook output priority -150; }")
    document = {
        "add_ingress": [
            {
                "netfilter": {"capture_cgroup": ["tng-nowhere.slice"], "capture_dst": {"port": 1}},
                "verify": {"as_addr": "http://127.0.0.1:9/", "policy_ids": ["default"]},
            }
        ]
    }
    before = state(host)
    status, found = doctor(host, document)
    assert (status, set(found)) == (3, {"TNG612", "TNG621", "TNG632"})
    assert state(host) == before


def test_apply_refuses_for_errors_alone_and_changes_nothing(host: Host) -> None:
    before = state(host)
    config = tunnel.write_config(host.state / "config.json", ingress({"capture_cgroup": ["tng-nowhere.slice"]}))
    done = host.run(TNG, "apply", str(config), check=False)
    assert done.returncode == 3
    assert "TNG612" in done.stderr
    assert "nothing was changed" in done.stderr
    assert state(host) == before
    host.run("nft", "add table ip other; add chain ip other out { type nat hook output priority -150; }")
    run = tunnel.apply(host, tunnel.write_config(host.state / "config.json", ingress()))
    assert "warning[TNG621]" in run.output()


def state(host: Host) -> list[str]:
    commands = ("nft list ruleset", "ip -o address", "ip rule", "ip route show table all", "ss -Htan", "ls -laR /run")
    return [host.run("sh", "-c", command).stdout for command in commands]
