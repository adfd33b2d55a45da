"""When a watchdog speaks: once when something is wrong, once when it is well again, once a day in between. Pure.

A trouble is told from `tell_at` on, one without that when it has lasted `grace` since it was first noticed. After a
time in which nobody looked, because the machine slept or the clock was set, there is one more `grace`: what is missing
may only be waiting for its first minute awake.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

REMIND_AFTER = timedelta(days=1)
AWAKE_WITHIN = timedelta(minutes=2)
"""Two looks further apart than this did not watch what was between them."""

_MINUTES_WITHOUT_MEMORY = frozenset({7, 37})

BEATS, STORE, MEMORY, ROSTER, DISK = "beats", "store", "memory", "roster", "disk"
"""What a trouble can be about, besides an agent."""
_AGENT = "agent/"


def agent_key(agent: str) -> str:
    """What a trouble of an agent is filed under."""
    return f"{_AGENT}{agent}"


def agent_of(key: str) -> str | None:
    """The agent that a key is about, if any."""
    return key.removeprefix(_AGENT) if key.startswith(_AGENT) else None


class Kind(StrEnum):
    """What can be wrong."""

    SILENCE = "silence"
    """Nobody beats."""
    DOWN = "down"
    NEVER = "never"
    """It never beat since somebody watches."""
    FAILING = "failing"
    UNREADABLE = "unreadable"
    """The state cannot be read: locked, damaged, of a newer heartbeat, on a disk that hangs."""
    MISSING = "missing"
    """There was a state, and it is gone."""
    LOST = "lost"
    """Memory was lost, and nobody has accepted that (rule B7)."""
    REPLACED = "replaced"
    """Another memory has begun where there was one. It is told and then taken for what is meant."""
    ROSTER = "roster"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong now. `since` is when it began, as far as is known. `mark` names the newest fact that it
    is judged by: without a newer one nothing is well again, whatever the clock says."""

    kind: Kind
    since: datetime
    tell_at: datetime | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A trouble that was told. `told_at` is when last."""

    kind: Kind
    since: datetime
    opened_at: datetime
    told_at: datetime
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Flip:
    """A change that is to be told: from `old` to `new`, None being well. With both the same it is a reminder.
    `since` is when the trouble began."""

    key: str
    old: Kind | None
    new: Kind | None
    since: datetime

    @property
    def reminder(self) -> bool:
        return self.old is self.new


@dataclass(frozen=True, slots=True)
class Alarms:
    """What is remembered from one look to the next, by what it is about. `noticed` is when each trouble that stands was
    first seen; `awake_since` when the looks began that followed each other closely; `took` how long the last one went
    on, by a clock that nobody sets and that stands still while the machine sleeps."""

    standing: Mapping[str, Alarm]
    noticed: Mapping[str, datetime]
    looked_at: datetime | None = None
    awake_since: datetime | None = None
    took: timedelta = timedelta(0)


NONE = Alarms({}, {})


def turn(
    before: Alarms,
    troubles: Mapping[str, Trouble],
    well: Collection[str],
    unknown: Collection[str],
    now: datetime,
    grace: timedelta,
) -> tuple[Alarms, tuple[Flip, ...]]:
    """What stands after one look, and what is to be told of it.

    `well` are those of which it is known that nothing is wrong; `unknown` those that still exist and of which nobody
    can tell now: their alarms stand. What is in neither, and no trouble, exists no more, and its alarm is dropped
    without a word.
    """
    awake_since = awake(before, now)
    noticed = {key: min(before.noticed.get(key, now), now) for key in troubles}
    kept = {key: at for key, at in before.noticed.items() if key in unknown and key not in troubles}
    standing: dict[str, Alarm] = {}
    flips: list[Flip] = []
    for key, trouble in troubles.items():
        alarm = before.standing.get(key)
        told = _may_be_told(trouble, noticed[key], now, awake_since, grace)
        if alarm is not None and (alarm.kind is trouble.kind or not told):
            standing[key] = replace(alarm, told_at=min(alarm.told_at, now), mark=trouble.mark)
        elif told:
            standing[key] = Alarm(trouble.kind, trouble.since, alarm.opened_at if alarm else now, now, trouble.mark)
            flips.append(Flip(key, alarm.kind if alarm else None, trouble.kind, trouble.since))
    for key, alarm in before.standing.items():
        if key in troubles:
            continue
        if key in well:
            flips.append(Flip(key, alarm.kind, None, alarm.since))
        elif key in unknown:
            standing[key] = replace(alarm, told_at=min(alarm.told_at, now))
    if any(now - alarm.told_at >= REMIND_AFTER for alarm in standing.values()):
        # All that stands at once, so that there is one such message a day and not one for each; of what nobody can tell
        # now there is nothing to say.
        silent = {*(flip.key for flip in flips), *(key for key in standing if key not in troubles)}
        flips += [Flip(key, each.kind, each.kind, each.since) for key, each in standing.items() if key not in silent]
        standing = {key: replace(each, told_at=now) for key, each in standing.items()}
    return Alarms(standing, noticed | kept, now, awake_since), tuple(flips)


def without_memory(troubles: Mapping[str, Trouble], now: datetime) -> tuple[Flip, ...]:
    """What to tell where nothing can be remembered from one look to the next: everything, twice an hour."""
    if now.minute not in _MINUTES_WITHOUT_MEMORY:
        return ()
    return tuple(
        Flip(key, None, trouble.kind, trouble.since)
        for key, trouble in troubles.items()
        if trouble.tell_at is None or trouble.tell_at <= now
    )


def awake(before: Alarms, now: datetime) -> datetime:
    """Since when the looks have followed each other closely: since now where the last one is too long ago. A look that
    took long itself is no gap."""
    if before.looked_at is None or before.awake_since is None:
        return now
    apart = now - before.looked_at
    return before.awake_since if timedelta(0) <= apart <= AWAKE_WITHIN + max(before.took, timedelta(0)) else now


def _may_be_told(trouble: Trouble, noticed: datetime, now: datetime, awake_since: datetime, grace: timedelta) -> bool:
    """Whoever looks more seldom than every two minutes has never been awake for long; then the second look counts."""
    if now < (noticed + grace if trouble.tell_at is None else trouble.tell_at):
        return False
    return now >= min(awake_since, noticed) + grace
