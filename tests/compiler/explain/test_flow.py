"""The language of flows: what it reads, and where it puts the caret when it cannot."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from tng_compiler.algebra.space import Family, Ports
from tng_compiler.diagnostics.mistake import Mistake, render
from tng_compiler.explain.ends import End
from tng_compiler.explain.flow import Flow, parse


def at(address: str, *ports: int, last: str = "") -> End:
    first = ip_address(address)
    family: Family = "ipv4" if first.version == 4 else "ipv6"
    return End(family, (int(first), int(ip_address(last or address))), Ports(ports[0], ports[-1]) if ports else None)


FLOWS = {
    "ingress tcp 10.0.0.5 -> 10.1.2.3:8080 cgroup /app.slice/web.service": {
        "direction": "ingress",
        "protocol": "tcp",
        "source": at("10.0.0.5"),
        "destination": at("10.1.2.3", 8080),
        "cgroup": "app.slice/web.service",
    },
    "egress from 192.0.2.7 to local:8080": {
        "direction": "egress",
        "source": at("192.0.2.7"),
        "destination": End(ports=Ports(8080, 8080), local=True),
    },
    "ingress to [2001:db8::1]:443": {"direction": "ingress", "destination": at("2001:db8::1", 443)},
    "ingress to 2001:db8::1": {"direction": "ingress", "destination": at("2001:db8::1")},
    "forwarded from 172.17.0.2 to 10.1.2.3:8080": {
        "direction": "forwarded",
        "source": at("172.17.0.2"),
        "destination": at("10.1.2.3", 8080),
    },
    "udp to 10.1.2.3:443": {"protocol": "udp", "destination": at("10.1.2.3", 443)},
    "to 10.0.0.0/8:80-90": {"destination": at("10.0.0.0", 80, 90, last="10.255.255.255")},
    "to ::/0": {"destination": at("::", last="ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")},
    "from local 10.0.0.1:9 to local 10.0.0.2": {
        "source": replace(at("10.0.0.1", 9), local=True),
        "destination": replace(at("10.0.0.2"), local=True),
    },
    "any -> :53": {"destination": End(ports=Ports(53, 53))},
    "established untracked egress": {"direction": "egress", "established": True, "tracked": False},
    "runtime down mark 0x235": {"runtime": "down", "mark": 565},
    f"to :{'0' * 30}443 mark {'0' * 30}7": {"destination": End(ports=Ports(443, 443)), "mark": 7},
    'cgroup "/a b" newer': {"cgroup": "a b", "newer": True},
    "cgroup /": {"cgroup": ""},
    "set a,b-1": {"sets": frozenset({"a", "b-1"})},
    "no set": {"sets": frozenset()},
    "set local,first,set tcp": {"sets": frozenset({"local", "first", "set"}), "protocol": "tcp"},
    "": {},
}


@pytest.mark.parametrize("text", FLOWS)
def test_a_flow_is_read(text: str) -> None:
    assert parse(text) == Flow(text, **FLOWS[text])  # type: ignore[arg-type]  # by name


MISTAKES = {
    "ingres to 10.1.2.3": (0, "did you mean `ingress`?"),
    "to :http": (3, "a port is a number"),
    "to 10.1.2.3:8080x": (11, "a port is a number"),
    "to 10.1.2.300:80": (3, "such as 10.1.2.3"),
    "to :70000": (3, "such as :443"),
    "to :9-8": (3, "such as :443"),
    "10.0.0.5 10.1.2.3": (9, "name one end only"),
    "10.0.0.5 ->": (11, "such as `to 10.1.2.3:443`"),
    "port 8080": (0, "`to :8080`"),
    "to 10.1.2.3 8080": (12, "`to :8080`"),
    "https://10.1.2.3/": (0, "`to 10.1.2.3:443`"),
    "to": (2, "such as `to 10.1.2.3:443`"),
    "to [::1": (7, "such as `[2001:db8::1]:443`"),
    "to [10.0.0.1]": (4, "such as `[2001:db8::1]:443`"),
    "runtime": (7, "`runtime down`"),
    "runtime off": (8, "`runtime down`"),
    "cgroup app": (7, "such as `cgroup"),
    "mark x": (5, "such as `mark 565`"),
    "mark 4294967296": (5, "such as `mark 565`"),
    "set": (3, "such as `set peers`"),
    "no": (2, "no set of the operator"),
    "tcp udp": (4, "remove one"),
    "to :1 any -> :2": (6, "remove one"),
    "from 10.0.0.1 to ::1": (17, "one version"),
    "forwarded to local": (13, "leave out `forwarded`"),
    "forwarded to 127.0.0.1": (13, "leave out `forwarded`"),
    "forwarded cgroup /a": (10, "leave out `cgroup`"),
    "tracked": (0, "`established tracked`"),
    "client first": (0, "`established tracked`"),
    "established client": (18, "`established client first`"),
    "established udp": (12, "leave out `established`"),
    "to fe80::1%eth0": (10, "docs/explain.md"),
    "x" * 5000: (0, "ask for one flow"),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_has_a_caret_and_advice(text: str) -> None:
    found = parse(text)
    column, help_ = MISTAKES[text]
    assert isinstance(found, Mistake)
    assert (found.start, help_ in found.help) == (column, True), render("FLOW", text, found)
    lines = render("FLOW", text, found).splitlines()
    assert lines[4].index("^") == len("1 | ") + column


@given(
    st.lists(
        st.sampled_from(
            ["to ", "from ", ":80", "10.0.0.1", "::1", "[", "]", "->", "tcp", "set ", "/", '"', " ", "local"]
        )
        | st.text(max_size=3)
    ).map("".join)
)
def test_any_text_has_an_answer_that_drives_no_terminal(text: str) -> None:
    found = parse(text)
    if isinstance(found, Mistake):
        assert 0 <= found.start < found.end
        assert all(char.isprintable() or char == "\n" for char in render("FLOW", text, found))


def test_mistakes_read_as_their_golden(golden: SnapshotAssertion) -> None:
    shown = [
        render("FLOW", text, found)
        for text in MISTAKES
        if len(text) < 100 and isinstance(found := parse(text), Mistake)
    ]
    assert "\n".join(shown) == golden(name="explain/mistakes.txt")


def test_a_caret_stands_under_its_word_on_a_terminal() -> None:
    """Wide characters take two cells, combining marks none."""
    shown = render("FLOW", "e\u0301 \u6f22 x", Mistake("", 5, 6, "")).splitlines()
    assert shown[4] == "  |      ^"
