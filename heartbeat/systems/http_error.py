"""What went wrong with a request, as the report and a retry need to know it. Without httpx: it is cheap to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heartbeat.systems.base import FailureKind, TransportError


class HttpError(TransportError):
    """A request that did not succeed.

    `status` is None where no answer came; `body` is the answer's JSON object or empty; `code` is its machine-readable
    `code`; `retry_after` is in seconds; `outcome_unknown` says that the request may have been carried out although
    no answer came, so that a write must be looked for before it is repeated.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        advice: str = "",
        status: int | None = None,
        body: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        retryable: bool = False,
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(kind, message, advice=advice, outcome_unknown=outcome_unknown, retry_after=retry_after)
        self.status = status
        self.body: Mapping[str, Any] = body or {}
        self.retryable = retryable

    @property
    def code(self) -> str | None:
        code = self.body.get("code")
        return code if isinstance(code, str) else None
