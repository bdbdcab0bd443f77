"""What the grammar of flows would have accepted, in words."""

from __future__ import annotations

from lark.exceptions import UnexpectedToken

from tng_compiler.diagnostics.mistake import Mistake
from tng_compiler.diagnostics.quoting import quote
from tng_compiler.shape.nearest import nearest

_WORDS = (
    "ingress", "egress", "forwarded", "tcp", "udp", "new", "established", "tracked", "untracked", "runtime", "cgroup",
    "mark", "set", "from", "to", "local", "any", "client", "service", "first", "up", "down", "squatted", "newer", "no",
    "over", "inside", "outside",
)  # fmt: skip
# What stands behind one of these is the only thing that can: asked in this order.
_AFTER = (
    ({"UP"}, "`up`, `down` or `squatted` after `runtime`", "`runtime down`: nothing of ours listens"),
    ({"PATH"}, "a path after `cgroup`", "such as `cgroup /app.slice/web.service`; quote one with blanks"),
    ({"NUMBER"}, "a number after `mark`", "such as `mark 565`, the SO_MARK of the sending socket"),
    ({"RSQB"}, "a `]` after the address", "such as `[2001:db8::1]:443`"),
)

_PORT = "a port stands behind its address, or alone behind a colon: `to 10.1.2.3:8080`, `to :8080`"
_END = "name the address and the port: `to 10.1.2.3:443`"
_MEANT = {
    "port": _PORT, "http": _END, "https": _END, "out": "what this host sends is `ingress`",
    "outgoing": "what this host sends is `ingress`", "in": "what comes to this host is `egress`",
    "incoming": "what comes to this host is `egress`",
}  # fmt: skip
"""What people write instead, by its word."""


def expected(text: str, error: UnexpectedToken) -> Mistake:
    """Return what was expected where the parser stopped, and what stands there."""
    token, accepts = error.token, frozenset(error.accepts or ())
    at_end = token.type == "$END" or token.start_pos is None
    start = len(text.rstrip()) if at_end else token.start_pos or 0
    end = start + 1 if at_end else token.end_pos or start + 1
    found = "the end" if at_end else quote(str(token))
    wanted, help_ = _wanted(accepts)
    if not at_end and token.type in ("JUNK", "NAME"):
        word = str(token)
        if word.lower() in _MEANT:
            help_ = _MEANT[word.lower()]
        elif (meant := nearest(word, _WORDS)) and meant != word:
            help_ = f"did you mean `{meant}`?"
        elif word.startswith(":"):
            help_ = "a port is a number or a range, such as :443 or :8000-8099"
    elif not at_end and str(token).isdecimal() and wanted == "a part of a flow":
        help_ = _PORT
    return Mistake(f"expected {wanted}, found {found}", start, end, help_)


def _wanted(accepts: frozenset[str]) -> tuple[str, str]:
    if "INSIDE" in accepts and not accepts & {"OVER", "INGRESS"}:
        return "an interface, `inside` or `outside` after `over`", "such as `over docker0`"
    if "NAME" in accepts:
        return "the name of a set", "such as `set peers`, the `ipset` of the configuration"
    for kinds, wanted, help_ in _AFTER:
        if kinds <= accepts and "INGRESS" not in accepts:
            return wanted, help_
    if "ARROW" in accepts or "__ANON_0" in accepts:
        return "`->` after the address of the sender", "or name one end only, such as `to 10.1.2.3:443`"
    if "FIRST" in accepts:
        return "`first` after it", "such as `established client first`"
    if "IPV6" in accepts and "IPV4" not in accepts:
        return "an IPv6 address between the brackets", "such as `[2001:db8::1]:443`"
    if "IPV4" in accepts and "INGRESS" not in accepts:
        return "an address, `local` or `:PORT`", "such as `to 10.1.2.3:443`, `to [2001:db8::1]:443` or `to :443`"
    if "SET" in accepts and "INGRESS" not in accepts:
        return "`set` after `no`", "`no set`: the destination is in no set of the operator"
    return (
        "a part of a flow",
        "such as `ingress tcp 10.0.0.5 -> 10.1.2.3:8080 cgroup /app.slice`; docs/explain.md lists the parts",
    )
