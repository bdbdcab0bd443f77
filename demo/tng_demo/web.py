"""A stock HTTP server: nginx as the distribution ships it, on both families, taking uploads with PUT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tng_demo.lab import Host
from tng_demo.process import Process

_CONFIG = """\
daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log {directory}/access.log combined;
    client_body_temp_path {directory}/body;
    client_max_body_size 0;
    keepalive_requests 1000000;
    keepalive_timeout 10m;
    client_header_timeout 10m;
    lingering_time 10m;
    server {{
        listen {port} backlog=4096;
        listen [::]:{port} backlog=4096;
        root {directory}/www;
        location /upload/ {{ root {directory}; dav_methods PUT; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Web:
    """A running server: it serves ``www`` and keeps in ``uploads`` what is PUT below ``/upload/``."""

    process: Process
    www: Path
    uploads: Path
    access_log: Path

    def requests(self) -> list[str]:
        """The lines of its access log: one for each request that reached it."""
        return self.access_log.read_text(encoding="utf-8").splitlines()


def serve(host: Host, directory: Path, port: int = 8080) -> Web:
    """Start nginx on ``host`` with its files in ``directory`` and wait until both families answer."""
    web = Path(directory)
    for name in ("www", "upload", "body"):
        (web / name).mkdir(parents=True, exist_ok=True)
    config = web / "nginx.conf"
    config.write_text(_CONFIG.format(directory=web, port=port), encoding="utf-8")
    process = host.start("nginx", "-e", "stderr", "-p", str(web), "-c", str(config))
    for address in ("127.0.0.1", "::1"):
        host.wait_for_port(port, address)
    return Web(process, web / "www", web / "upload", web / "access.log")
