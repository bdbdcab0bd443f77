"""Containers on a bridge whose connections are captured, beside the rules of Docker and of Podman.

The rules that they load are in ``container_rules``; the bridge, its ports and their addresses are real. ``pod`` is a
container at .2 with the published port, ``other`` one at .3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from packets import bridge
from packets import container_rules as rules
from packets.attack import HOST, MARK, PEER, Scene, made, scene, spoken, sysctl, wire
from packets.bridge import Containers
from packets.make import config, entry
from packets.test_passing_by import ask
from packets.wire import FAMILIES, SECRET, place
from tng_compiler.model.types import Config

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

NAMED = config(entry("ingress", 0, [{"port": 8080}], forwarded="capture", interfaces=["docker0", "br-*"]))
BY_KIND = config(entry("ingress", 0, [{"port": 8080}], forwarded="capture"))
CONTAINERS = entry("ingress", 0, [{"port": 8080}], forwarded="capture", interfaces=["docker0"])
EGRESS = {
    "nft": config(CONTAINERS, entry("egress", 0, [{"port": rules.PUBLISHED}])),
    "iptables": config(CONTAINERS, entry("egress", 0, [{"port": 22}])),
}
"""Of a service in a container, by the port that is published for it; and of one beside the containers."""
LISTENER = 15501
FAR = {"ipv4": "10.99.0.9", "ipv6": "fd99::9"}
"""An address that nobody has."""


@contextlib.contextmanager
def containers(built: Scene) -> Iterator[Containers]:
    """Containers with services on 8080 and 9000."""
    with bridge.containers(built.hosts, built.host) as on:
        for container in (on.pod, on.other):
            for family in FAMILIES:
                for service in (8080, 9000):
                    built.responder.listen(container, family, service, proxy=False)
        yield on


def engine(built: Scene, name: str) -> None:
    """Load what a container engine loads."""
    if name == "podman nft":
        built.table(rules.podman_nft())
    for family in FAMILIES:
        command = "iptables-nft-restore" if family == "ipv4" else "ip6tables-nft-restore"
        if name == "docker nft":
            built.table(rules.docker_nft(family))
        elif name == "docker iptables":
            built.host.run(command, stdin=rules.docker_iptables(family))
        elif name == "podman iptables":
            built.host.run(command, stdin=rules.podman_iptables(family))


ENGINES = ("docker nft", "docker iptables", "podman nft", "podman iptables")
CASES = [*((name, "nft") for name in ENGINES), ("docker iptables", "iptables"), ("podman nft", "iptables")]


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_what_containers_send_is_captured_beside_their_engine(name: str, backend: str) -> None:
    """And what they publish is served, by an egress or past it; nobody else gets at the listener."""
    with scene(EGRESS[backend], backend) as built, containers(built) as on, wire(built) as left:
        engine(built, name)
        built.load()
        for family in FAMILIES:
            meant = place(family, PEER[family], 8080)
            for sender in (on.pod, on.other, built.host):
                said = spoken(made(sender, family), PEER[family], 8080, words=SECRET)
                assert said == f"captured {LISTENER} {meant}", (sender.name, family)
            assert ask(on.pod, built.peer, family, PEER[family], 8080) == "refused"
            assert not left.carried(SECRET)
            assert spoken(made(on.pod, family), PEER[family], 9000) == "passed 9000"
            served = made(built.peer, family) if backend == "iptables" else made(built.host, family, MARK)
            assert spoken(served, HOST[family], rules.PUBLISHED) == "passed 8080", "published, or dialled by the egress"
            captured = rules.PUBLISHED if backend == "nft" else 22
            assert spoken(made(built.peer, family), HOST[family], captured).startswith("captured 16001"), "an egress"
            for sender, target in ((on.pod, rules.GATEWAY), (on.pod, HOST), (built.peer, HOST)):
                assert spoken(made(sender, family), target[family], LISTENER) == "refused", "no open relay"


@pytest.mark.parametrize("document", [NAMED, BY_KIND], ids=["named", "by_kind"])
def test_neighbours_are_no_containers(document: Config) -> None:
    """What comes in from outside is refused, whichever way it goes on, and whatever others do with our port.

    The host's own eth0 is one end of a veth pair here: by kind, what goes on by the interface it came by is outside.
    """
    with scene(document) as built, containers(built) as on:
        # Somebody's own rule leads a port of the host to our listener: it was not forwarded.
        built.table(
            f"table inet others {{ chain in {{ type nat hook prerouting priority -100; "
            f"iifname eth0 fib daddr type local tcp dport 7000 redirect to :{LISTENER}; }}; }}"
        )
        built.load()
        for family in FAMILIES:
            version = f"-{family[-1]}"
            built.host.run("ip", version, "route", "add", FAR[family], "via", PEER[family])
            built.peer.run("ip", version, "route", "add", FAR[family], "via", HOST[family])
            assert spoken(made(built.peer, family), FAR[family], 8080) == "refused"
            assert spoken(made(on.pod, family), FAR[family], 8080) == (
                f"captured {LISTENER} {place(family, FAR[family], 8080)}"
            )
            assert spoken(made(built.peer, family), HOST[family], 7000) == "refused", "translated by others"


@pytest.mark.parametrize("document", [NAMED, BY_KIND], ids=["named", "by_kind"])
def test_a_bridge_that_shows_its_frames_to_the_rules(document: Config) -> None:
    """br_netfilter. What leaves the bridge is captured all the same; what stays on it never goes on in plaintext."""
    with scene(document) as built, containers(built) as on:
        built.load()
        for shown in ("0", "1"):
            calls = {f"bridge__bridge-nf-call-{name}": shown for name in ("iptables", "ip6tables")}
            sysctl(built.host, **calls)
            for family in FAMILIES:
                meant = place(family, PEER[family], 8080)
                assert spoken(made(on.pod, family), PEER[family], 8080) == f"captured {LISTENER} {meant}"
                beside = spoken(made(on.pod, family), rules.SECOND[family], 8080)
                if shown == "0":
                    assert beside == "passed 8080", "the host switches it and sees nothing of it"
                else:
                    captured = f"captured {LISTENER} {place(family, rules.SECOND[family], 8080)}"
                    assert beside == ("refused" if document is BY_KIND else captured)
                assert spoken(made(on.pod, family), rules.SECOND[family], 9000) == "passed 9000"
