"""One connection in the logs of both gateways: the same words, joined by the leg between them."""

from __future__ import annotations

import re

import pytest

from tng_demo import tunnel
from tng_demo.process import PATIENCE
from tng_demo.scene import CLIENT_CONFIG, PAGE, SERVER_CONFIG, Scene

pytestmark = pytest.mark.netns


def words(line: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)=("[^"]*"|\S+)', line))


def test_both_ends_say_the_same_of_a_connection(scene: Scene) -> None:
    egress = tunnel.serve(scene.server, SERVER_CONFIG)
    ingress = tunnel.apply(scene.client, CLIENT_CONFIG)
    assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE
    near, far = (words(run.wait_for(r".*event=closed .*", PATIENCE)[0]) for run in (ingress, egress))
    for name in ("leg", "bytes_sent", "bytes_received", "dst"):
        assert near[name] == far[name], name
    assert far["src"] == far["leg"]
    assert near["leg"].startswith(f"{scene.client.ipv4}:")
    assert int(near["bytes_sent"]) > 0
    assert int(near["bytes_received"]) > len(PAGE)
    assert (near["direction"], far["direction"]) == ("outbound", "inbound")
    assert (near["verdict"], far["verdict"]) == ("default", "none")
    assert re.fullmatch("[0-9a-f]{64}", near["peer"])
    assert float(near["duration"]) >= 0


def test_an_egress_that_is_refused_says_so_and_where_to_look(scene: Scene) -> None:
    egress = tunnel.apply(scene.server, SERVER_CONFIG)
    scene.affirm(False)
    ingress = tunnel.apply(scene.client, CLIENT_CONFIG)
    assert scene.curl(scene.urls()["IPv4"]).returncode != 0
    near, far = (words(run.wait_for(r".*event=refused .*", PATIENCE)[0]) for run in (ingress, egress))
    assert near["code"].startswith("RA-")
    assert (far["code"], far["leg"]) == ("TLS-REFUSED", near["leg"])
    assert far["detail"] == '"the peer refused this side: bad certificate"'
