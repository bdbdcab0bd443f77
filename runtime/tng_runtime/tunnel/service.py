"""The attestation service as the tunnel uses it: evidence in, a token out; and the certificates that may sign tokens.

The service is CoCo trustee's restful-as. What a request and an answer look like is ``attest.request``'s to say, how a
call is made and bounded is ``fetch``'s; here is the order of calls, and which of the two dialects the service speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from tng_runtime.attest import request
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import CocoEvidence
from tng_runtime.attest.request import Dialect
from tng_runtime.counts import Asked, counted
from tng_runtime.errors import Refused
from tng_runtime.manifest import Service

if TYPE_CHECKING:
    from tng_runtime.tunnel.fetch import Answer

DEADLINE = 15.0
MAX_CERTIFICATE_ANSWER = 1 << 20


class ServiceClient:
    """The service at ``as_addr``; ``so_mark`` is set on its sockets, ``deadline`` seconds bound each method.

    ``told`` counts the calls about evidence.

    Raises ``HostError`` if the address or a header (exit 1) or a file of ``as_ca_paths`` (exit 3) cannot be used.
    """

    def __init__(
        self, service: Service, so_mark: int, *, deadline: float = DEADLINE, told: Asked | None = None
    ) -> None:
        # The HTTP client costs start-up time that an entry without a service does not owe.
        from tng_runtime.tunnel.fetch import Fetcher

        self._fetcher = Fetcher(service, so_mark)
        self._deadline = deadline
        self._dialect = Dialect.LIST
        self._told = told or Asked()

    async def attest(self, evidence: CocoEvidence, policy_ids: Sequence[str]) -> str:
        """The service's token about ``evidence``; raises ``Refused`` (RA-SERVICE-...)."""
        with counted(self._told):
            return await self._attest(evidence, policy_ids)

    async def _attest(self, evidence: CocoEvidence, policy_ids: Sequence[str]) -> str:
        started = anyio.current_time()
        answer = await self._post(evidence, policy_ids, self._dialect, self._deadline)
        if self._dialect is Dialect.FLAT and answer.status != 200:
            # It may be a newer service by now: the next call asks in the newer form first.
            self._dialect = Dialect.LIST
        elif self._dialect is Dialect.LIST and request.wants_flat(answer.status, answer.body):
            left = self._deadline - (anyio.current_time() - started)
            answer = await self._post(evidence, policy_ids, Dialect.FLAT, max(left, 0.0))
            if answer.status == 200:
                self._dialect = Dialect.FLAT
        return request.read_answer(answer.status, answer.body)

    async def certificates(self) -> bytes:
        """What ``GET /certificate`` answers: a PEM bundle; raises ``Refused`` (RA-SERVICE-...)."""
        answer = await self._fetcher.call(
            "GET", "/certificate", None, limit=MAX_CERTIFICATE_ANSWER, deadline=self._deadline
        )
        if answer.status != 200:
            raise Refused(Code.SERVICE_STATUS, f"/certificate answered with status {answer.status}")
        return answer.body

    async def aclose(self) -> None:
        """End the calls under way."""
        await self._fetcher.aclose()

    async def _post(
        self, evidence: CocoEvidence, policy_ids: Sequence[str], dialect: Dialect, deadline: float
    ) -> Answer:
        body = request.attestation_request(evidence, policy_ids, dialect)
        return await self._fetcher.call("POST", "/attestation", body, limit=request.MAX_ANSWER_BYTES, deadline=deadline)
