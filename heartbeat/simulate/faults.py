"""How a source that is out of order answers (rules S1, S2)."""

from __future__ import annotations

from heartbeat.systems.base import FailureKind, TransportError

PARTIAL = "partial"
"""Half of it comes, and it shows."""
ABSENT = "absent"
"""Nothing of it is to be found, as under cron's bare PATH."""

KINDS = (*(kind.value for kind in FailureKind if kind is not FailureKind.BUG), PARTIAL, ABSENT)
"""Every way in which a source can be out of order."""


def failure(source: str, kind: str) -> TransportError:
    """What a transport raises."""
    return TransportError(FailureKind(kind), f"{source} is out of order in this simulation ({kind})")


def write_failure(source: str, kind: str) -> TransportError:
    """What a writer raises while its source is out of order: half a source takes no writes either."""
    return failure(source, FailureKind.UNREACHABLE if kind in (PARTIAL, ABSENT) else kind)
