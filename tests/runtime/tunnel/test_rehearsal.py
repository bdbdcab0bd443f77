"""The rehearsal shakes hands to the end, so that nothing is left for the first connection to set up."""

from __future__ import annotations

import pytest
from OpenSSL import SSL

from tng_runtime.errors import HostError
from tng_runtime.tunnel import contexts, openssl, rehearsal


def test_it_comes_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SSL.Connection] = []

    def end(side: str, *rest: object) -> SSL.Connection:
        made.append(before(side, *rest))  # type: ignore[arg-type]
        return made[-1]

    before = rehearsal._end
    monkeypatch.setattr(rehearsal, "_end", end)
    rehearsal.rehearse()
    assert [each.get_cipher_version() for each in made] == ["TLSv1.3", "TLSv1.3"]
    assert all(each.get_peer_certificate() for each in made)


def test_what_this_host_cannot_do_is_left_to_others_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def require() -> dict[str, object]:
        raise HostError("no", hint="none")

    monkeypatch.setattr(openssl, "require", require)
    rehearsal.rehearse()
    monkeypatch.undo()
    monkeypatch.setattr(contexts, "GROUPS", b"no-such-group")
    rehearsal.rehearse()
