"""Whom a person is talking to, so that heartbeat keeps quiet meanwhile (rule B4). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from heartbeat.instants import CLOCK_SKEW, to_text
from heartbeat.rules.windows import in_utc
from heartbeat.task import Presence


@dataclass(frozen=True, slots=True)
class Talk:
    """A person talks with an agent. `at` is the person's last word; at `until` it is over if no other word follows."""

    agent: str
    at: datetime
    until: datetime

    @property
    def why(self) -> str:
        """What is put off because of it, in words that stay the same for as long as the talk lasts."""
        return f"{_DEFERRED}{self.agent}"

    @property
    def told(self) -> str:
        """The same, with the instant up to which it holds as far as is known now."""
        return f"{self.why} until {to_text(self.until)}"


_DEFERRED = "deferred: a person is talking to "


def says_deferred(why: str) -> bool:
    """Whether these are words that a talk left on record."""
    return why.startswith(_DEFERRED)


def talks(presence: Iterable[Presence], quiet: timedelta, now: datetime) -> dict[str, Talk]:
    """The talks that go on at `now`, by agent: those of whom a person spoke with within `quiet`, at the end of which it
    is over.

    Where no source tells, nobody talks: what cannot be known puts off nothing for ever. A word that lies ahead of now
    by more than clocks differ has not been said yet.
    """
    now = in_utc(now)
    found: dict[str, Talk] = {}
    for each in presence:
        if each.talked_at is None:
            continue
        at = in_utc(each.talked_at)
        known = found.get(each.agent)
        if at <= now + CLOCK_SKEW and now < at + quiet and (known is None or known.at < at):
            found[each.agent] = Talk(each.agent, at, at + quiet)
    return found
