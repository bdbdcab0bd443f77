"""Under which certificates tokens must be signed: a pin, or what the service's ``/certificate`` answers.

A pin (``trusted_certs_paths``) is exclusive: with it the service's address is never asked for certificates, so whoever
answers there cannot widen the trust. Without one the answer is fetched when first needed, kept for an hour, and
fetched again, not too often, when a token turns up that was signed under something else (the service got a new CA).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import anyio

from tng_runtime import log
from tng_runtime.attest.anchors import TrustAnchors, read_anchors
from tng_runtime.errors import HostError, Refused
from tng_runtime.manifest import Verify
from tng_runtime.tunnel.service import ServiceClient
from tng_schema import contract

MAX_AGE = timedelta(hours=1)
# Anybody can show tokens of an unknown CA; that must not turn into as many calls.
MIN_AGE = timedelta(seconds=10)
FAILURE_AGE = timedelta(seconds=1)
MAX_PIN_BYTES = 1 << 20


class Trust:
    """The anchors of one ``verify`` block. ``service`` may be None with a pin, or when signers are not verified."""

    def __init__(self, verify: Verify, service: ServiceClient | None, now: Callable[[], datetime]) -> None:
        self._verify = verify
        self._service = service
        self._now = now
        self._pinned: TrustAnchors | None = None
        self._fetched: TrustAnchors | None = None
        self._fetched_at: datetime | None = None
        self._failure: tuple[Refused, datetime] | None = None
        self._fetching = anyio.Lock()

    async def start(self) -> None:
        """Read the pin; raises ``HostError`` for a file unreadable, not PEM, or ended. Logs what is risky."""
        paths = self._verify.trusted_certs_paths
        if paths:
            self._pinned = TrustAnchors(tuple([c for path in paths for c in self._read(path).certificates]))
        elif self._verify.skip_as_token_cert_verify:
            log.warning("token_signer_not_verified", detail="skip_as_token_cert_verify: ANYBODY CAN SIGN TOKENS")
        elif self._service is not None:
            _warn_about_plain_http(self._verify)

    async def prefetch(self) -> None:
        """Ask the service once, so that the first peer need not wait; a failure is logged and nothing else.

        A service that starts after us is no reason not to start: until it is there, every connection is refused.
        """
        try:
            await self.anchors()
        except Refused as refused:
            log.warning("service_not_ready", code=refused.code, detail=refused.detail, until="every peer is refused")

    async def anchors(self) -> TrustAnchors | None:
        """What counts now; None if signers are not verified. Raises ``Refused`` (RA-SERVICE-..., RA-ANCHOR-...)."""
        if self._pinned is not None or self._verify.skip_as_token_cert_verify:
            return self._pinned
        async with self._fetching:
            if self._fetched is None or not self._younger_than(MAX_AGE):
                await self._fetch()
            return self._fetched

    async def renewed(self, unknown_to: TrustAnchors | None) -> TrustAnchors | None:
        """Other anchors than ``unknown_to``, under which a token was not signed; None if there are none to be had."""
        if self._pinned is not None or self._verify.skip_as_token_cert_verify:
            return None
        async with self._fetching:
            if self._fetched is unknown_to and not self._younger_than(MIN_AGE):
                try:
                    await self._fetch()
                except Refused as refused:
                    log.warning("anchors_not_renewed", code=refused.code, detail=refused.detail)
            return self._fetched if self._fetched != unknown_to else None

    async def _fetch(self) -> None:
        assert self._service is not None
        # Those who waited for a call that failed must not queue up for one call each.
        if self._failure is not None and timedelta(0) <= self._now() - self._failure[1] < FAILURE_AGE:
            raise Refused(self._failure[0].code, self._failure[0].detail)
        try:
            self._fetched = read_anchors(await self._service.certificates(), self._now())
        except Refused as refused:
            self._failure = (refused, self._now())
            raise
        self._fetched_at = self._now()

    def _younger_than(self, age: timedelta) -> bool:
        return self._fetched_at is not None and timedelta(0) <= self._now() - self._fetched_at < age

    def _read(self, path: str) -> TrustAnchors:
        # Without a thread: who reads it may still have privileges to give up, which are those of threads.
        try:
            with open(path, "rb") as file:
                pem = file.read(MAX_PIN_BYTES + 1)
        except OSError as error:
            raise _unusable(path, str(error.strerror)) from None
        if len(pem) > MAX_PIN_BYTES:
            raise _unusable(path, f"larger than {MAX_PIN_BYTES} bytes")
        try:
            return read_anchors(pem, self._now())
        except Refused as refused:
            raise _unusable(path, refused.detail) from None


def _warn_about_plain_http(verify: Verify) -> None:
    parts = urlsplit(verify.service.as_addr if verify.service else "")
    if parts.scheme == "http" and not contract.is_loopback(parts.hostname or ""):
        log.warning(
            "service_over_plain_http",
            service=parts.netloc,
            detail="whoever is on the way decides which certificates sign tokens: pin them with trusted_certs_paths",
        )


def _unusable(path: str, problem: str) -> HostError:
    return HostError(
        f"trusted_certs_paths: {path}: {problem}",
        hint="give PEM certificates of the service's CA that are valid today",
    )
