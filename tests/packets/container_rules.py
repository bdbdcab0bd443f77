"""What Docker and Podman load for one bridge network with one published port, each as nft and as iptables writes it.

Written after moby's own documents of its rules (integration/network/bridge, as of Docker 28) and netavark's sources
(src/firewall), for the bridge ``docker0`` with 172.17.0.0/16 and fd17::/64, a container at .2 and port 5000 of the host
for its port 8080. No engine ran here.
"""

from __future__ import annotations

from textwrap import dedent

from packets.wire import FAMILIES

BRIDGE = "docker0"
NETWORK = {"ipv4": "172.17.0.0/16", "ipv6": "fd17::/64"}
GATEWAY = {"ipv4": "172.17.0.1", "ipv6": "fd17::1"}
CONTAINER = {"ipv4": "172.17.0.2", "ipv6": "fd17::2"}
SECOND = {"ipv4": "172.17.0.3", "ipv6": "fd17::3"}
PUBLISHED, INNER = 5000, 8080
_LOOPBACK = {"ipv4": "127.0.0.0/8", "ipv6": "::1/128"}
_TABLE = {"ipv4": "ip", "ipv6": "ip6"}
_TO = {"ipv4": CONTAINER["ipv4"], "ipv6": f"[{CONTAINER['ipv6']}]"}


def docker_iptables(family: str) -> str:
    """For ``iptables-restore``: filter, nat and raw, as the daemon leaves them."""
    network, container = NETWORK[family], CONTAINER[family]
    return dedent(f"""\
        *raw
        -A PREROUTING -d {container} ! -i {BRIDGE} -j DROP
        COMMIT
        *filter
        :FORWARD DROP [0:0]
        :DOCKER - [0:0]
        :DOCKER-BRIDGE - [0:0]
        :DOCKER-CT - [0:0]
        :DOCKER-FORWARD - [0:0]
        :DOCKER-ISOLATION-STAGE-1 - [0:0]
        :DOCKER-ISOLATION-STAGE-2 - [0:0]
        :DOCKER-USER - [0:0]
        -A FORWARD -j DOCKER-USER
        -A FORWARD -j DOCKER-FORWARD
        -A DOCKER -d {container} ! -i {BRIDGE} -o {BRIDGE} -p tcp -m tcp --dport {INNER} -j ACCEPT
        -A DOCKER ! -i {BRIDGE} -o {BRIDGE} -j DROP
        -A DOCKER-BRIDGE -o {BRIDGE} -j DOCKER
        -A DOCKER-CT -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        -A DOCKER-FORWARD -j DOCKER-CT
        -A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
        -A DOCKER-FORWARD -j DOCKER-BRIDGE
        -A DOCKER-FORWARD -i {BRIDGE} -j ACCEPT
        -A DOCKER-ISOLATION-STAGE-1 -i {BRIDGE} ! -o {BRIDGE} -j DOCKER-ISOLATION-STAGE-2
        -A DOCKER-ISOLATION-STAGE-2 -o {BRIDGE} -j DROP
        COMMIT
        *nat
        :DOCKER - [0:0]
        -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
        -A OUTPUT ! -d {_LOOPBACK[family]} -m addrtype --dst-type LOCAL -j DOCKER
        -A POSTROUTING -s {network} ! -o {BRIDGE} -j MASQUERADE
        -A DOCKER ! -i {BRIDGE} -p tcp -m tcp --dport {PUBLISHED} -j DNAT --to-destination {_TO[family]}:{INNER}
        COMMIT
        """)


def docker_nft(family: str) -> str:
    """The table docker-bridges of one family."""
    table, network, container = _TABLE[family], NETWORK[family], CONTAINER[family]
    return dedent(f"""\
        table {table} docker-bridges {{
          map filter-forward-in-jumps {{ type ifname : verdict; elements = {{ "{BRIDGE}" : jump in__{BRIDGE} }}; }}
          map filter-forward-out-jumps {{ type ifname : verdict; elements = {{ "{BRIDGE}" : jump out__{BRIDGE} }}; }}
          map nat-post-out-jumps {{ type ifname : verdict; elements = {{ "{BRIDGE}" : jump nat-out__{BRIDGE} }}; }}
          chain filter-FORWARD {{
            type filter hook forward priority filter; policy accept;
            oifname vmap @filter-forward-in-jumps
            iifname vmap @filter-forward-out-jumps
          }}
          chain in__{BRIDGE} {{
            ct state established,related counter accept
            iifname "{BRIDGE}" counter accept
            {table} daddr {container} tcp dport {INNER} counter accept
            counter drop
          }}
          chain out__{BRIDGE} {{ ct state established,related counter accept; counter accept; }}
          chain nat-prerouting-and-output {{
            iifname != "{BRIDGE}" tcp dport {PUBLISHED} counter dnat to {_TO[family]}:{INNER}
          }}
          chain nat-PREROUTING {{
            type nat hook prerouting priority dstnat; policy accept;
            fib daddr type local counter jump nat-prerouting-and-output
          }}
          chain nat-OUTPUT {{
            type nat hook output priority -100; policy accept;
            {table} daddr != {_LOOPBACK[family]} fib daddr type local counter jump nat-prerouting-and-output
          }}
          chain nat-POSTROUTING {{
            type nat hook postrouting priority srcnat; policy accept;
            iifname vmap @nat-post-out-jumps
          }}
          chain nat-out__{BRIDGE} {{ oifname != "{BRIDGE}" {table} saddr {network} counter masquerade; }}
          chain raw-PREROUTING {{
            type filter hook prerouting priority raw; policy accept;
            {table} daddr {container} iifname != "{BRIDGE}" counter drop
          }}
        }}
        """)


def podman_nft() -> str:
    """The table netavark, both families."""
    chains = "".join(
        f"""
        chain nv_{family} {{
          {_TABLE[family]} daddr {NETWORK[family]} accept
          {_TABLE[family]} daddr != {"224.0.0.0/4" if family == "ipv4" else "ff00::/8"} masquerade
        }}
        chain nv_{family}_dnat {{
          {_TABLE[family]} saddr {NETWORK[family]} tcp dport {PUBLISHED} jump NETAVARK-HOSTPORT-SETMARK
          tcp dport {PUBLISHED} dnat {_TABLE[family]} to {_TO[family]}:{INNER}
        }}"""
        for family in FAMILIES
    )
    each: dict[str, list[str]] = {name: [] for name in ("forward", "post", "port")}
    for family in FAMILIES:
        table, network = _TABLE[family], NETWORK[family]
        each["forward"] += [f"{table} daddr {network} ct state {{ established, related }} accept"]
        each["forward"] += [f"{table} saddr {network} accept"]
        each["post"] += [f"{table} saddr {network} jump nv_{family}"]
        each["port"] += [f"meta nfproto {family} tcp dport {PUBLISHED} jump nv_{family}_dnat"]
    return dedent(f"""\
        table inet netavark {{
          chain NETAVARK-HOSTPORT-SETMARK {{ meta mark set meta mark | 0x00002000; }}{chains}
          chain NETAVARK-HOSTPORT-DNAT {{ {"; ".join(each["port"])}; }}
          chain NETAVARK-ISOLATION-1 {{ }}
          chain FORWARD {{
            type filter hook forward priority filter; policy accept;
            ct state invalid drop; jump NETAVARK-ISOLATION-1; {"; ".join(each["forward"])};
          }}
          chain POSTROUTING {{
            type nat hook postrouting priority srcnat; policy accept;
            meta mark & 0x00002000 == 0x00002000 masquerade; {"; ".join(each["post"])};
          }}
          chain PREROUTING {{
            type nat hook prerouting priority dstnat; policy accept;
            fib daddr type local jump NETAVARK-HOSTPORT-DNAT;
          }}
          chain OUTPUT {{
            type nat hook output priority -100; policy accept;
            fib daddr type local jump NETAVARK-HOSTPORT-DNAT;
          }}
        }}
        """)


def podman_iptables(family: str) -> str:
    """For ``iptables-restore``: filter and nat, with the hashed names of netavark's chains."""
    network = NETWORK[family]
    everybody = "224.0.0.0/4" if family == "ipv4" else "ff00::/8"
    return dedent(f"""\
        *filter
        :NETAVARK_FORWARD - [0:0]
        :NETAVARK_ISOLATION_2 - [0:0]
        -A FORWARD -m comment --comment "netavark firewall rules" -j NETAVARK_FORWARD
        -A NETAVARK_FORWARD -m conntrack --ctstate INVALID -j DROP
        -A NETAVARK_FORWARD -d {network} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        -A NETAVARK_FORWARD -s {network} -j ACCEPT
        COMMIT
        *nat
        :NETAVARK-1D8721804F16F - [0:0]
        :NETAVARK-DN-1D8721804F16F - [0:0]
        :NETAVARK-HOSTPORT-DNAT - [0:0]
        :NETAVARK-HOSTPORT-MASQ - [0:0]
        :NETAVARK-HOSTPORT-SETMARK - [0:0]
        -A PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
        -A OUTPUT -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
        -A POSTROUTING -j NETAVARK-HOSTPORT-MASQ
        -A POSTROUTING -s {network} -j NETAVARK-1D8721804F16F
        -A NETAVARK-1D8721804F16F -d {network} -j ACCEPT
        -A NETAVARK-1D8721804F16F ! -d {everybody} -j MASQUERADE
        -A NETAVARK-DN-1D8721804F16F -s {network} -p tcp -m tcp --dport {PUBLISHED} -j NETAVARK-HOSTPORT-SETMARK
        -A NETAVARK-DN-1D8721804F16F -p tcp -m tcp --dport {PUBLISHED} -j DNAT --to-destination {_TO[family]}:{INNER}
        -A NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport {PUBLISHED} -j NETAVARK-DN-1D8721804F16F
        -A NETAVARK-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
        -A NETAVARK-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000
        COMMIT
        """)
