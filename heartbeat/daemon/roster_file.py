"""Whether the roster on the disk is another one than that in use, and what a new one changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from heartbeat.errors import UsageError
from heartbeat.instants import exact_duration
from heartbeat.policy import Policy
from heartbeat.roster.model import Agent, Roster

_NOTHING = timedelta(0)

Signature = tuple[int, int, int, int]
"""Device, inode, time of writing in nanoseconds, size: a file of another signature may hold something else."""

SETTLES = 2.0
"""Seconds that a changed file must stay as it is before it is read: an editor may be in the middle of writing it, and
half a roster can be a sound one with half the team."""


def signature_of(path: Path) -> Signature | None:
    """Of the file that the path leads to, links followed; None where there is none that can be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


@dataclass(frozen=True, slots=True)
class RosterFile:
    """What is known of the file. `tried` is its signature when it was last read, whatever came of that; `seen` is the
    one at the last look, and `since` when it was first like that, on a clock that nobody sets."""

    tried: Signature | None
    seen: Signature | None
    since: float = 0.0

    @classmethod
    def read(cls, signature: Signature | None) -> RosterFile:
        """As it is just after it was read."""
        return cls(signature, signature)

    def looked_at(self, signature: Signature | None, now: float) -> RosterFile:
        """After another look."""
        return self if signature == self.seen else replace(self, seen=signature, since=now)

    def settles_in(self, now: float) -> float | None:
        """Seconds until it may be read, 0 for now; None where there is nothing new to read."""
        return None if self.seen == self.tried else max(0.0, self.since + SETTLES - now)


def chosen(roster: Roster, names: Sequence[str]) -> tuple[Agent, ...]:
    """Those of the named agents that the roster still has; all agents where none is named.

    Raises UsageError where none is left.
    """
    agents = tuple(agent for agent in roster.agents.values() if not names or agent.id in names)
    if not agents:
        asked = f" of {', '.join(names)}" if names else ""
        raise UsageError(
            f"{roster.path}: none{asked} is in it, and there would be nobody to beat for",
            advice=f"agents in this roster: {', '.join(roster.agents) or 'none'}; "
            "end this process if nobody is to beat any more",
        )
    return agents


def differences(
    before: Roster, after: Roster, agents_before: Sequence[Agent], agents_after: Sequence[Agent]
) -> Iterator[str]:
    """What changes for a daemon that beats for these agents: one phrase each, none where nothing does."""
    old, new = _by_id(agents_before), _by_id(agents_after)
    for word, names in (("added", new.keys() - old.keys()), ("removed", old.keys() - new.keys())):
        if names:
            yield f"{word}: {', '.join(name for name in (*old, *new) if name in names)}"
    for name in (each for each in new if each in old):
        if rhythm(old[name].policy) != rhythm(new[name].policy):
            yield f"{name} {rhythm(new[name].policy)} instead of {rhythm(old[name].policy)}"
    if before.timezone != after.timezone:
        yield f"time zone: {after.timezone} instead of {before.timezone}"
    common = before.agents.keys() & after.agents.keys()
    if _rest(before, common) != _rest(after, common):
        yield "other settings"


def rhythm(policy: Policy) -> str:
    """How often an agent beats, in the roster's own words."""
    return f"every {exact_duration(policy.every)}" if policy.cron is None else f"cron {policy.cron!r}"


def _by_id(agents: Sequence[Agent]) -> Mapping[str, Agent]:
    return {agent.id: agent for agent in agents}


def _rest(roster: Roster, common: Set[str]) -> Roster:
    """All of it but what has words of its own."""
    agents = {
        name: replace(agent, policy=replace(agent.policy, every=_NOTHING, cron=None, anchor=_NOTHING))
        for name, agent in roster.agents.items()
        if name in common
    }
    return replace(roster, agents=agents, timezone="")
