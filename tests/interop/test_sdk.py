"""The Python SDK of the Rust TNG, unchanged, with our program as its TNG_BINARY: its examples carry real requests.

On the client host, as a plain user who has no capability there.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop import ends
from interop.ends import ATTEST, FIRST_PORT, NO_RA, Program, Trust
from runtime.plain import reads_checkout
from tng_demo import tunnel
from tng_demo.lab import Host, Lab, lab
from tng_demo.sample_agent import SampleAgent
from tng_demo.sample_authority import create_authority
from tng_demo.sample_service import SampleService
from tng_demo.web import Web, serve

pytestmark = [pytest.mark.interop, pytest.mark.netns]

OURS = Path(sys.prefix) / "bin" / "tng"
PAGE = "the page that the examples fetch\n"
# As in tng-python/docs/getting-started.md: requests, httpx, httpx without threads, what streams, and the end.
EXAMPLES = """
import asyncio, sys
import httpx, requests
from tng import Tng

url = sys.argv[1]
tng = Tng(**eval(sys.argv[2]))
session = requests.Session()
tng.wrap_requests(session)
print(repr(session.get(url).text))
print(repr("".join(line + "\\n" for line in session.get(url, stream=True).iter_lines(decode_unicode=True))))
print(session.put(url + "upload/" + sys.argv[3], data=b"x" * 300_000).status_code)
with httpx.Client() as client:
    tng.wrap_httpx(client)
    print(repr(client.get(url).text))
    with client.stream("GET", url) as response:
        print(repr("".join(response.iter_text())))

async def main():
    async with httpx.AsyncClient() as client:
        tng.wrap_httpx(client)
        print(repr((await client.get(url)).text))

asyncio.run(main())
tng.close()
tng.close()
print("closed")
"""
ALL = [repr(PAGE)] * 2 + ["201"] + [repr(PAGE)] * 3 + ["closed"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Web]]:
    with lab("client", "server") as hosts, contextlib.ExitStack() as stack:
        stack.enter_context(SampleAgent(hosts["server"].state / "run" / "aa.sock"))
        with hosts["client"].inside():
            stack.enter_context(SampleService(ends.SERVICE_ADDRESS, signing=create_authority()))
        web = serve(hosts["server"], tmp_path_factory.mktemp("sdk") / "web", FIRST_PORT)
        (web.www / "index.html").write_text(PAGE, encoding="utf-8")
        yield hosts, web


def examples(client: Host, peer: Path, url: str, options: dict[str, object], sent: str) -> tuple[list[str], str]:
    """What they print, by a user with a home and nothing else; they upload a file ``sent``."""
    (wheel,) = peer.parent.glob("tng_sdk-*.whl")
    home = client.state / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    client.run("chown", "65534:65534", str(home))
    given = [f"PYTHONPATH={wheel}", f"TNG_BINARY={OURS}", f"HOME={home}", f"TMPDIR={home}", f"XDG_RUNTIME_DIR={home}"]
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]
    given.insert(0, "--unset=STATE_DIRECTORY")
    program = [sys.executable, "-c", EXAMPLES, url, repr(options), sent]
    done = client.run(*user, "env", *given, *program, check=False)
    logs = "".join(path.read_text("utf-8") for path in home.glob("tng_stderr_*.log"))
    return done.stdout.splitlines(), done.stderr + logs


@reads_checkout
def test_its_examples_carry_requests(peer: Path, tmp_path: Path, scene: tuple[Lab, Web]) -> None:
    hosts, web = scene
    client, server = hosts["client"], hosts["server"]
    verify = {"as_addr": f"http://{ends.SERVICE_ADDRESS[0]}:{ends.SERVICE_ADDRESS[1]}/", "policy_ids": ["default"]}
    capture = {"capture_dst": {"port": FIRST_PORT}, "capture_local_traffic": True}
    rounds: list[tuple[Program, Trust, dict[str, object]]] = [
        ("ours", NO_RA, {"no_ra": True}),
        ("rust", ATTEST, {"verify": verify}),
    ]
    for egress, trust, options in rounds:
        document = {"add_egress": [{"netfilter": capture, **trust}]}
        process = ends._start(server, egress, peer, tunnel.write_config(tmp_path / "server.json", document))
        asked = {**options, "rats_tls": {"multiplex": False}}
        printed, log = examples(client, peer, f"http://{server.ipv4}:{FIRST_PORT}/", asked, egress)
        assert printed == ALL, log
        assert (web.uploads / egress).read_bytes() == b"x" * 300_000
        process.stop()
        if egress == "ours":
            server.run(str(OURS), "down")
