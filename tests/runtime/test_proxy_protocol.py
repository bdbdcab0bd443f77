"""What services learn of their clients from the header that an egress writes: stock nginx and HAProxy, and a socket."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from runtime.relay.test_proxy_header import read
from runtime.tunnels import NO_RA, PORT
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_demo.scene import AGENT_SOCKET, SERVICE

pytestmark = pytest.mark.netns

CAPTURE = {"capture_dst": {"port": PORT}}
VERIFY = {"as_addr": f"http://{SERVICE}/", "policy_ids": ["default"]}
ATTEST = {"aa_addr": f"unix://{AGENT_SOCKET}"}

_NGINX = """\
daemon off;
user root;
worker_processes 1;
pid {state}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {state}/body;
    server {{
        listen {port} proxy_protocol;
        listen [::]:{port} proxy_protocol;
        return 200 "$proxy_protocol_addr $proxy_protocol_server_addr $proxy_protocol_server_port";
    }}
}}
"""

_HAPROXY = """\
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 30s
frontend web
    bind 0.0.0.0:{port} accept-proxy
    bind [::]:{port} v6only accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src] %[dst] %[dst_port]"
"""


def sample(host: Host, module: str, *argv: str) -> None:
    host.start(sys.executable, "-m", f"tng_demo.{module}", *argv).wait_for("listening on")


def start(hosts: Lab, egress: dict[str, object], ingress: dict[str, object]) -> None:
    for host, document in (("server", {"add_egress": [egress]}), ("client", {"add_ingress": [ingress]})):
        tunnel.apply(hosts[host], tunnel.write_config(hosts[host].state / "config.json", document))


def fetch(host: Host, target: str) -> str:
    return host.run("curl", "-sS", "--fail", "--max-time", "30", f"http://{target}:{PORT}/").stdout


def both(hosts: Lab) -> Iterator[tuple[str, str]]:
    """Addresses of the client and the server, by family."""
    yield hosts["client"].ipv4, hosts["server"].ipv4
    yield hosts["client"].ipv6, hosts["server"].ipv6


def test_nginx_sees_the_client(hosts: Lab) -> None:
    server = hosts["server"]
    config = server.state / "nginx.conf"
    config.write_text(_NGINX.format(state=server.state, port=PORT), encoding="utf-8")
    server.start("nginx", "-e", "stderr", "-p", str(server.state), "-c", str(config))
    server.wait_for_port(PORT, "::1")
    start(hosts, {"netfilter": CAPTURE, "proxy_protocol": "v2", **NO_RA}, {"netfilter": CAPTURE, **NO_RA})
    for near, far in both(hosts):
        assert fetch(hosts["client"], f"[{far}]" if ":" in far else far) == f"{near} {far} {PORT}"


def test_haproxy_sees_the_client(hosts: Lab) -> None:
    server = hosts["server"]
    config = server.state / "haproxy.cfg"
    config.write_text(_HAPROXY.format(port=PORT), encoding="utf-8")
    server.start("haproxy", "-db", "-f", str(config))
    server.wait_for_port(PORT, "::1")
    start(hosts, {"netfilter": CAPTURE, "proxy_protocol": "v2", **NO_RA}, {"netfilter": CAPTURE, **NO_RA})
    for near, far in both(hosts):
        assert fetch(hosts["client"], f"[{far}]" if ":" in far else far) == f"{near} {far} {PORT}"


def test_the_header_comes_first_and_names_the_policies_and_the_key_that_were_verified(hosts: Lab) -> None:
    client, server = hosts["client"], hosts["server"]
    for host in (client, server):
        sample(host, "sample_service", "--listen", SERVICE)
        sample(host, "sample_agent", "--socket", AGENT_SOCKET)
    with server.inside():
        listener = socket.create_server(("0.0.0.0", PORT))
    listener.settimeout(60)
    trust = {"attest": ATTEST, "verify": VERIFY}
    start(hosts, {"netfilter": CAPTURE, "proxy_protocol": "v2", **trust}, {"netfilter": CAPTURE, **trust})
    digests = []
    for _ in range(2):
        with connection(client, server.ipv4) as near:
            far, _ = listener.accept()
            with far:
                far.settimeout(60)
                # Before the application has said a word.
                received = receive_header(far)
                near_address, near_port, *there, values = read(received)
                assert [near_address, *there] == [client.ipv4, server.ipv4, PORT]
                assert near_port != 0
                assert values[0] == (0xE0, b"default")
                ((kind, digest),) = values[1:]
                assert (kind, len(digest)) == (0xE1, 32)
                digests.append(digest)
                near.sendall(b"payload")
                assert far.recv(100) == b"payload"
    assert digests[0] == digests[1], "one certificate for both: it is renewed every ten minutes"
    listener.close()


def connection(host: Host, target: str) -> socket.socket:
    with host.inside():
        return socket.create_connection((target, PORT), timeout=60)


def receive_header(sock: socket.socket) -> bytes:
    """As much as the header says that it has, and not a byte more."""
    data = b""
    while len(data) < 16:
        data += sock.recv(16 - len(data)) or pytest.fail("the connection ended")
    length = 16 + int.from_bytes(data[14:16])
    while len(data) < length:
        data += sock.recv(length - len(data)) or pytest.fail("the connection ended")
    return data
