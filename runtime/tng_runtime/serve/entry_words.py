"""What the log says of an entry when it serves, and of all of them at the end."""

from __future__ import annotations

from collections import Counter

from tng_runtime.manifest import Entry
from tng_runtime.serve.tally import Sums


def entry_words(entry: Entry) -> dict[str, object]:
    """Where it listens, who proves what, and what is dangerous about it."""
    where: dict[str, object] = {"listen_port": entry.listen_port}
    if entry.mapping:
        where = {"listens": ", ".join(f"{rule.in_host} {rule.in_port}" for rule in entry.mapping)}
    if entry.proxy:
        where = {"socks5" if entry.socks5 else "http_proxy": f"{entry.proxy.host} {entry.proxy.port}"}
    if entry.http_proxy and entry.http_proxy.unmatched == "direct":
        where["plaintext"] = "what no filter takes leaves without a tunnel"
    return where | _trust_words(entry)


def _trust_words(entry: Entry) -> dict[str, object]:
    if entry.attest is None and entry.verify is None:
        return {"trust": "no_ra", "warning": "nobody is verified: encryption without attestation"}
    words = {"attests": entry.attest and entry.attest.model, "verifies": entry.verify and entry.verify.model}
    skips = entry.verify is not None and entry.verify.skip_as_token_cert_verify
    return words | ({"warning": "skip_as_token_cert_verify: anybody can sign the tokens"} if skips else {})


def totals(sums: Sums, entries: int) -> dict[str, object]:
    """How many connections were relayed, are left behind, and were refused for which reason."""
    each_total = [sums.total(number) for number in range(entries)]
    left = sum(each.left for each in each_total)
    refused = sum((each.refused for each in each_total), Counter[str]())
    said: dict[str, object] = {"relayed": sum(each.ended.total() for each in each_total)}
    said |= {"left": left} if left else {}
    return said | {f"refused.{code}": number for code, number in sorted(refused.items())}
