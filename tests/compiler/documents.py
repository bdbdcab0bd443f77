"""Documents that the tests of the compiler share."""

from __future__ import annotations

import json
from pathlib import Path

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.json"))
VERIFY: dict[str, object] = {"as_addr": "http://127.0.0.1:8081/", "policy_ids": ["default"]}
ATTEST: dict[str, object] = {"aa_addr": "unix:///run/aa.sock"}


def ingress(netfilter: object, **trust: object) -> dict[str, object]:
    """Return a document with one ingress that verifies, unless told otherwise."""
    return {"add_ingress": [{"netfilter": netfilter, **(trust or {"verify": VERIFY})}]}


def egress(netfilter: object, **trust: object) -> dict[str, object]:
    """Return a document with one egress that attests, unless told otherwise."""
    return {"add_egress": [{"netfilter": netfilter, **(trust or {"attest": ATTEST})}]}


def text(document: object) -> bytes:
    """Return the document as it would lie in a file."""
    return json.dumps(document, indent=2).encode()
