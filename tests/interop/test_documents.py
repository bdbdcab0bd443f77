"""docs/compatibility.md, proven: the same documents given to both programs, which agree or differ as it says.

The Rust TNG runs in a network namespace of its own until it is ready or has ended.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tng_compiler.diagnostics.codes import Code
from tng_compiler.pipeline import compile_bytes

pytestmark = pytest.mark.interop

PORT = {"port": 8080}
SKIP = {"model": "passport", "policy_ids": ["default"], "skip_as_token_cert_verify": True}


def ingress(netfilter: object, **entry: object) -> str:
    return json.dumps({"add_ingress": [{"netfilter": netfilter, **(entry or {"no_ra": True})}]})


def egress(netfilter: object) -> str:
    return json.dumps({"add_egress": [{"netfilter": netfilter, "no_ra": True}]})


def dst(destination: object) -> str:
    return ingress({"capture_dst": destination})


def http_proxy(*filters: object, **more: object) -> str:
    proxy = {
        "proxy_listen": {"host": "127.0.0.1", "port": 41000},
        **({"dst_filters": list(filters)} if filters else {}),
    }
    return json.dumps({"add_ingress": [{"http_proxy": {**proxy, **more}, "no_ra": True}]})


BOTH_ACCEPT = {
    "a proxy": http_proxy(),
    "a proxy with filters": http_proxy(
        {"domain": "*.a", "port": 1, "port_end": 2}, {"ip": "192.0.2.1"}, {"domain_regex": "a"}
    ),
    "a proxy with one filter": http_proxy(dst_filters={"domain": "*", "port": 8080}),
    "a tunnel of one stream": ingress({"capture_dst": PORT}, no_ra=True, rats_tls={"multiplex": False}),
    "one destination": dst(PORT),
    "a list of destinations": dst([PORT, {"host": "192.0.2.0/24"}]),
    "a range of ports": dst({"port": 1, "port_end": 65535}),
    "a range of one port": dst({"port": 5, "port_end": 5}),
    "null for absent scalars": ingress(
        {
            "capture_dst": {"host": None, "ipset": None, "port": 1, "port_end": None},
            "listen_port": None,
            "so_mark": None,
        }
    ),
    "null for absent blocks": ingress(
        {"capture_dst": PORT}, no_ra=True, verify=None, attest=None, ohttp=None, rats_tls=None
    ),
    "null for sections": json.dumps(
        {**json.loads(dst(PORT)), "metric": None, "trace": None, "control_interface": None}
    ),
    "the largest mark": ingress({"capture_dst": PORT, "so_mark": 4294967295}),
    "every address": dst({"host": "0.0.0.0/0"}),
    "a verifier that skips": ingress({"capture_dst": PORT}, verify=SKIP),
    "an egress with local traffic": egress({"capture_dst": PORT, "capture_local_traffic": True}),
    "escaped names": dst(PORT).replace('"port"', '"p\\u006frt"'),
}
BOTH_REFUSE = {
    "a wildcard in the middle": http_proxy({"domain": "a*b"}),
    "a pattern that is none": http_proxy({"domain_regex": "("}),
    "a filter with port_end alone": http_proxy({"port_end": 5}),
    "a network as an address": http_proxy({"ip": "10.0.0.0/8"}),
    "filters that are null": http_proxy(dst_filters=None),
    "nothing": "",
    "a list": "[]",
    "no entries": "{}",
    "entries that are null": '{"add_ingress": null}',
    "a byte order mark": "\ufeff" + dst(PORT),
    "a comment": dst(PORT) + "// end",
    "a trailing comma": dst(PORT)[:-1] + ",}",
    "a duplicate key": dst(PORT).replace('"port": 8080', '"port": 1, "port": 2'),
    "a lone surrogate": dst({"ipset": "x"}).replace("x", "\\ud800"),
    "not a number": dst(PORT).replace("8080", "NaN"),
    "an infinite number": dst(PORT).replace("8080", "1e999"),
    "130 levels": "[" * 130 + "]" * 130,
    "a port that is text": dst({"port": "8080"}),
    "a port that is a float": dst({"port": 8080.0}),
    "a port that is a boolean": dst({"port": True}),
    "a port above 65535": dst({"port": 65536}),
    "a mark above 32 bits": ingress({"capture_dst": PORT, "so_mark": 4294967296}),
    "an empty destination": dst({}),
    "port_end alone": dst({"host": "192.0.2.1", "port_end": 5}),
    "port_end below port": dst({"port": 5, "port_end": 4}),
    "host and ipset": dst({"host": "192.0.2.1", "ipset": "a"}),
    "host bits": dst({"host": "10.0.0.1/8"}),
    "a netmask": dst({"host": "10.0.0.0/255.0.0.0"}),
    "a host name": dst({"host": "localhost"}),
    "an empty host": dst({"host": ""}),
    "an unknown field in a destination": dst({"prot": 8080}),
    "an unknown field in the entry": ingress({"capture_dst": PORT}, no_ra=True, bogus=1),
    "an unknown field in egress netfilter": egress({"capture_dst": PORT, "bogus": 1}),
    "neither destination nor cgroup": ingress({}),
    "null for a list": ingress({"capture_dst": PORT, "capture_cgroup": None}),
    "null for a flag": ingress({"capture_dst": PORT}, no_ra=None),
    "null for a choice": ingress({"capture_dst": PORT}, verify={**SKIP, "model": None}),
    "no trust": ingress({"capture_dst": PORT}, no_ra=False),
    "no_ra beside verify": ingress({"capture_dst": PORT}, no_ra=True, verify=SKIP),
    "no policies field": ingress(
        {"capture_dst": PORT}, verify={"model": "passport", "skip_as_token_cert_verify": True}
    ),
    "no service": ingress({"capture_dst": PORT}, verify={"policy_ids": ["a"]}),
    "no anchor": ingress({"capture_dst": PORT}, verify={"model": "passport", "policy_ids": ["a"]}),
    "a pin that is skipped": ingress({"capture_dst": PORT}, verify={**SKIP, "trusted_certs_paths": ["/a"]}),
    "a service that is skipped": ingress({"capture_dst": PORT}, verify={**SKIP, "as_addr": "http://127.0.0.1/"}),
    "headers without service": ingress({"capture_dst": PORT}, verify={**SKIP, "as_headers": {"a": "b"}}),
    "an unknown model": ingress({"capture_dst": PORT}, verify={**SKIP, "model": "x"}),
    "one listen port for two entries": json.dumps(
        {
            "add_ingress": [
                {"netfilter": {"capture_dst": {"port": port}, "listen_port": 5000}, "no_ra": True} for port in (1, 2)
            ]
        }
    ),
    "a header that is none": ingress(
        {"capture_dst": PORT}, verify={"as_addr": "http://127.0.0.1/", "policy_ids": ["a"], "as_headers": {"a": "b\nc"}}
    ),
    "a lone surrogate in what is ignored": ingress({"capture_dst": PORT, "bogus": "x"}).replace('"x"', '"\\ud800"'),
    "an infinite number in what is ignored": ingress({"capture_dst": PORT, "bogus": 1}).replace("1}", "1e999}"),
    "an agent without unix": ingress({"capture_dst": PORT}, attest={"aa_addr": "/run/aa.sock"}),
}
THEY_ACCEPT = {
    "two kinds in a filter": (http_proxy({"domain": "a", "domain_regex": "b"}), Code.BAD_FILTER),
    "flags in a pattern": (http_proxy({"domain_regex": "(?i)a"}), Code.BAD_FILTER),
    "an unknown field in a filter": (http_proxy({"domain": "a", "bogus": 1}), Code.UNKNOWN_FIELD),
    "the older name of filters": (http_proxy(dst_filter={"domain": "a"}), Code.UNKNOWN_FIELD),
    "an unknown field in ingress netfilter": (ingress({"capture_dst": PORT, "bogus": 1}), Code.UNKNOWN_FIELD),
    "an unknown field in verify": (ingress({"capture_dst": PORT}, verify={**SKIP, "bogus": 1}), Code.UNKNOWN_FIELD),
    "a duplicate key in verify": (
        ingress({"capture_dst": PORT}, verify=SKIP).replace('"model"', '"model": "passport", "model"'),
        Code.DUPLICATE_KEY,
    ),
    "no policies": (ingress({"capture_dst": PORT}, verify={**SKIP, "policy_ids": []}), Code.EMPTY_POLICY_IDS),
    "a pin that is null": (
        ingress({"capture_dst": PORT}, verify={**SKIP, "trusted_certs_paths": None}),
        Code.NULL_VALUE,
    ),
    "mark 0": (ingress({"capture_dst": PORT, "so_mark": 0}), Code.OUT_OF_RANGE),
    "port 0": (dst({"port": 0}), Code.OUT_OF_RANGE),
    "a network of one octet": (dst({"host": "10/8"}), Code.BAD_HOST),
    "loopback on an ingress": (dst({"host": "127.0.0.1"}), Code.INGRESS_NEVER_REACHES),
    "multicast on an ingress": (dst({"host": "224.0.0.1"}), Code.INGRESS_NEVER_REACHES),
    "loopback on an egress": (egress({"capture_dst": {"host": "127.0.0.1"}}), Code.EGRESS_NEVER_RECEIVES),
    "structures as lists": (dst([[None, None, 8080, None]]), Code.WRONG_TYPE),
    "another type in a field of ours": (ingress({"capture_dst": PORT, "ipv6": 5}), Code.WRONG_TYPE),
    "another word in a field of ours": (ingress({"capture_dst": PORT, "udp": "drop"}), Code.UNKNOWN_CHOICE),
    "an age out of range": (ingress({"capture_dst": PORT}, verify={**SKIP, "max_session_age": 0}), Code.OUT_OF_RANGE),
    "an empty policy": (ingress({"capture_dst": PORT}, verify={**SKIP, "policy_ids": [""]}), Code.EMPTY_TEXT),
    "more than 12 MiB": (dst(PORT) + " " * (12 << 20), Code.TOO_LARGE),
    "the same entry twice": (
        json.dumps({"add_ingress": json.loads(dst(PORT))["add_ingress"] * 2}),
        Code.ENTRY_SHADOWED,
    ),
    "a listen port that is captured": (
        egress({"capture_dst": {"port": 5000}, "listen_port": 5000}),
        Code.LISTEN_PORT_CAPTURED,
    ),
}
WE_ACCEPT = {
    "an IPv6 address": dst({"host": "2001:db8::1"}),
    "an IPv6 address in a filter": http_proxy({"ip": "2001:db8::1"}),
    "all TCP by an empty list": dst([]),
    "a bare string as cgroup": egress({"capture_dst": PORT, "nocapture_cgroup": "tng.slice"}),
    "an extension of ours in a destination's entry": egress({"capture_dst": PORT, "ipv6": "reject"}),
    "an extension of ours against UDP": egress({"capture_dst": PORT, "udp": "reject"}),
    "an empty pin that is skipped": ingress({"capture_dst": PORT}, verify={**SKIP, "trusted_certs_paths": []}),
    "a schema for editors": json.dumps({"$schema": "./tng.schema.json", **json.loads(dst(PORT))}),
    "1,500 destinations": dst([{"host": f"192.0.{index >> 8}.{index & 255}"} for index in range(1500)]),
}


def theirs(peer: Path, document: str, directory: Path) -> bool:
    """Whether the Rust TNG gets ready with a document."""
    path = directory / "config.json"
    path.write_text(document, "utf-8")
    with subprocess.Popen(
        ["unshare", "--net", peer, "launch", "-c", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as program:
        assert program.stdout
        try:
            return any("All services are ready" in line for line in program.stdout)
        finally:
            program.kill()


def ours(document: str) -> list[Code]:
    """The errors of our compiler."""
    found = compile_bytes("document.json", document.encode()).found
    return [item.diagnostic.code for item in found if item.is_error]


@pytest.mark.parametrize("case", BOTH_ACCEPT)
def test_both_accept(peer: Path, tmp_path: Path, case: str) -> None:
    assert theirs(peer, BOTH_ACCEPT[case], tmp_path)
    assert ours(BOTH_ACCEPT[case]) == []


@pytest.mark.parametrize("case", BOTH_REFUSE)
def test_both_refuse(peer: Path, tmp_path: Path, case: str) -> None:
    assert not theirs(peer, BOTH_REFUSE[case], tmp_path)
    assert ours(BOTH_REFUSE[case]) != []


@pytest.mark.parametrize("case", THEY_ACCEPT)
def test_only_they_accept_and_our_code_says_why_not(peer: Path, tmp_path: Path, case: str) -> None:
    document, code = THEY_ACCEPT[case]
    assert theirs(peer, document, tmp_path)
    assert ours(document) == [code]
    assert code.value in (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text("utf-8")


@pytest.mark.parametrize("case", WE_ACCEPT)
def test_only_we_accept(peer: Path, tmp_path: Path, case: str) -> None:
    assert not theirs(peer, WE_ACCEPT[case], tmp_path)
    assert ours(WE_ACCEPT[case]) == []
