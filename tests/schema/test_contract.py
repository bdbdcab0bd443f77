"""What both programs know, asked on both sides: what one of them takes the other takes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import tng_schema
from tng_compiler.cli import apply, outputs
from tng_compiler.diagnostics.codes import Code
from tng_compiler.pipeline import compile_bytes
from tng_runtime.errors import HostError
from tng_runtime.kernel import instance
from tng_runtime.manifest import FILES, Service
from tng_runtime.tunnel.fetch import Fetcher
from tng_schema import contract

HEADERS = [
    ("X-Team", "a", True),
    ("Authorization", "Bearer a.b-c_d==", True),
    ("Host", "service.example", True),
    ("X-Empty", "", True),
    ("X-Tab", "a\tb", True),
    ("Connection", "close", False),
    ("content-LENGTH", "3", False),
    ("Transfer-Encoding", "chunked", False),
    ("Accept-Encoding", "gzip", False),
    ("X Team", "a", False),
    ("X-Team:", "a", False),
    ("", "a", False),
    ("X-Line", "a\r\nX-Other: b", False),
    ("X-Space", " a", False),
    ("X-Space", "a ", False),
    ("X-Accent", "\u00e9", False),
]
HOSTS = [
    ("127.0.0.1", True),
    ("127.255.0.9", True),
    ("::1", True),
    ("::ffff:127.0.0.1", True),
    ("localhost", True),
    ("LOCALHOST.", True),
    ("as.localhost", True),
    ("128.0.0.1", False),
    ("::2", False),
    ("localhost.example", False),
    ("10.0.0.1", False),
    ("", False),
]


def compiled(verify: dict[str, Any]) -> set[Code]:
    """The codes of the findings about this block."""
    document = {"add_ingress": [{"netfilter": {"capture_dst": {"port": 8080}}, "verify": verify}]}
    outcome = compile_bytes("test.json", json.dumps(document).encode())
    return {each.diagnostic.code for each in outcome.found}


@pytest.mark.parametrize(("name", "value", "good"), HEADERS)
def test_a_header_is_taken_by_both_programs_or_by_none(name: str, value: str, good: bool) -> None:
    verify = {"as_addr": "http://127.0.0.1:8081/", "policy_ids": ["default"], "as_headers": {name: value}}
    assert (Code.BAD_HEADER not in compiled(verify)) == good
    service = Service("http://127.0.0.1:8081/", ((name, value),))
    if good:
        Fetcher(service, 0)
    else:
        with pytest.raises(HostError, match="as_headers"):
            Fetcher(service, 0)


@pytest.mark.parametrize(("host", "here"), HOSTS)
def test_a_host_is_this_one_or_not(host: str, here: bool) -> None:
    assert contract.is_loopback(host) == contract.is_loopback(f"[{host}]") == here


@pytest.mark.parametrize(("host", "here"), [("as.localhost", True), ("[::1]", True), ("10.0.0.1", False)])
def test_the_compiler_warns_of_plain_http_to_elsewhere(host: str, here: bool) -> None:
    verify = {"as_addr": f"http://{host}:8081/", "policy_ids": ["default"]}
    assert (Code.PLAIN_HTTP_SERVICE not in compiled(verify)) == here


def test_files_and_directories_have_one_name() -> None:
    assert set(FILES) == {outputs.MANIFEST, outputs.RULESET, outputs.GUARD}
    assert instance.LOCKS == apply.STATE_ROOT


def patterns(node: object) -> set[str]:
    """Every pattern in a schema."""
    if isinstance(node, list):
        return {pattern for item in node for pattern in patterns(item)}
    if not isinstance(node, dict):
        return set()
    own = {node["pattern"]} if isinstance(node.get("pattern"), str) else set()
    return own | {pattern for item in node.values() for pattern in patterns(item)}


def test_the_schemas_say_what_the_contract_says() -> None:
    """They are data for editors, and cannot refer to it."""
    manifest = patterns(tng_schema.load("manifest"))
    assert f"^{contract.TABLE}$" in manifest
    assert f"^{contract.TABLE}{contract.GUARD_SUFFIX}$" in manifest
    assert f"^{contract.SET_NAME}$" in manifest
    assert f"^{contract.SET_NAME}$" in patterns(tng_schema.load("config"))
    alphabet = contract.CGROUP_COMPONENT.rpartition("{")[0]
    assert any(alphabet in pattern for pattern in manifest)
    assert re.fullmatch(contract.CGROUP_COMPONENT, "session-1.scope")


@pytest.mark.parametrize(
    ("uid", "owner", "given", "there"),
    [
        (0, None, "/run/user/0", "/run/tng"),
        (0, 7, None, "/run/tng"),
        (7, 7, "/run/user/7", "/run/tng"),  # made for it by a unit (RuntimeDirectory=)
        (7, 0, "/run/user/7", "/run/user/7/tng"),
        (7, None, None, "/tmp/tng-7"),
        (7, None, "run", "/tmp/tng-7"),
    ],
)
def test_runs_of_a_user_without_privileges_are_his_own(
    uid: int, owner: int | None, given: str | None, there: str
) -> None:
    assert contract.run_directory(uid, owner, given) == there
