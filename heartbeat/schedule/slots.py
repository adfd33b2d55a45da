"""The instants at which an agent is due (rule B2): a slot is (agent, UTC instant), the same for everybody who asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from heartbeat.policy import Policy

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def current_slot(policy: Policy, timezone: str, now: datetime) -> datetime:
    """The latest slot that is not after `now`, in UTC.

    `every` counts from the epoch; a `cron` expression is read in the roster's time zone and turned into UTC at once.
    """
    if policy.cron is None:
        return now - (now - _EPOCH) % policy.every
    from zoneinfo import ZoneInfo

    from croniter import croniter

    local = (now + timedelta(microseconds=1)).astimezone(ZoneInfo(timezone))
    previous: datetime = croniter(policy.cron, local).get_prev(datetime)
    return previous.astimezone(UTC)
