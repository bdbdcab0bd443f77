"""A node of a Kubernetes cluster, as far as veth, bridge and policy routing can show it: docs/containers.md.

``cni0`` is the bridge of a network plugin (flannel, the bridge plugin), ``eni1`` the host's end of a pod's veth as the
plugins of Calico and AWS leave it: without an address, with a route of one address to it, and with a routing rule that
sends what the pod sends through a table of its own. kube-proxy's rules translate 10.96.0.10 to a pod elsewhere.
"""

from __future__ import annotations

import pytest

from packets import bridge
from packets import container_rules as rules
from packets.attack import MARK, PEER, cable, made, scene, spoken, sysctl, wire
from packets.make import config, entry
from packets.wire import SECRET, place
from tng_demo.lab import Host

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

SERVICE = "10.96.0.10"
POD = {"ipv4": "10.244.1.5", "ipv6": "fd44::5"}
DOCUMENT = config(
    entry("ingress", 0, [{"port": 8080}], forwarded="capture", interfaces=[rules.BRIDGE, "eni*"]),
    entry("ingress", 1, [{"host": "10.77.0.2", "port": 9000}], forwarded="capture", interfaces=[rules.BRIDGE, "eni*"]),
)
KUBE_PROXY = """*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m multiport --dports 8080,9000 -j KUBE-MARK-MASQ
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m multiport --dports 8080,9000 -j DNAT --to-destination 10.77.0.2
COMMIT
"""


def test_pods_of_a_node_are_captured_beside_kube_proxy_and_policy_routing() -> None:
    with scene(DOCUMENT) as built, bridge.containers(built.hosts, built.host) as on, wire(built) as left:
        host, pod = built.host, bridge.made(built.hosts, built.host, "pod-of-eni")
        host.run("iptables-nft-restore", stdin=KUBE_PROXY)
        host.run("ip", "route", "add", "default", "via", PEER["ipv4"])
        cable(host, "eni1", pod, "eth0")
        for where, device in ((host, "eni1"), (pod, "eth0")):
            where.run("ip", "link", "set", device, "address", "02:00:00:00:00:0" + ("1" if where is host else "2"))
            where.run("sysctl", "-qw", f"net.ipv6.conf.{device}.accept_dad=0")
            where.run("ip", "link", "set", device, "up")
        for family, gateway, length in (("ipv4", "169.254.1.1", "32"), ("ipv6", "fe80::ff:fe00:1", "128")):
            version = f"-{family[-1]}"
            pod.run("ip", "addr", "add", f"{POD[family]}/{length}", "dev", "eth0")
            pod.run("ip", version, "neigh", "add", gateway, "lladdr", "02:00:00:00:00:01", "dev", "eth0")
            pod.run("ip", version, "route", "add", "default", "via", gateway, "dev", "eth0", "onlink")
            host.run("ip", version, "route", "add", POD[family], "dev", "eni1")
            # A table of the pod's own, by which nothing captured could be reached.
            host.run("ip", version, "rule", "add", "from", POD[family], "table", "2", "priority", "1536")
            host.run("ip", version, "route", "add", "unreachable", "default", "table", "2")
        built.load()

        def says(sender: Host, address: str, port: int, mark: int = 0, family: str = "ipv4") -> str:
            words = b"hello" if mark else SECRET
            return spoken(made(sender, family, mark), address, port, words=words)

        # With br_netfilter, which is on, the reset goes past the translation back, and the client hears nothing.
        calls = ("bridge__bridge-nf-call-iptables", "bridge__bridge-nf-call-ip6tables")
        sysctl(host, **dict.fromkeys(calls, "0"))
        assert says(on.pod, SERVICE, 9000) == "refused", "a service whose pods are captured, and it is not"
        sysctl(host, **dict.fromkeys(calls, "1"))
        captured = f"captured 15501 {place('ipv4', SERVICE, 8080)}"
        assert says(on.pod, SERVICE, 8080) == captured, "before kube-proxy chooses a pod"
        assert says(host, SERVICE, 8080) == captured
        assert says(host, SERVICE, 8080, MARK) == "passed 8080", "what the runtime dials goes through kube-proxy"
        assert says(on.pod, PEER["ipv4"], 9000).startswith("captured 15502")
        assert says(pod, PEER["ipv6"], 8080, family="ipv6").startswith("captured 15501"), "to the link-local address"
        assert says(pod, PEER["ipv6"], 9000, family="ipv6") == "refused", (
            "by the routing rule, before the guard is asked"
        )
        with made(pod, "ipv4") as dropped:
            dropped.settimeout(0.3)
            with pytest.raises(TimeoutError):
                dropped.connect((PEER["ipv4"], 8080))
        host.run("ip", "addr", "add", "169.254.1.1/32", "dev", "eni1")
        assert says(pod, SERVICE, 8080) == captured
        assert not left.carried(SECRET)
