"""What a store keeps of turns: attempts, the breakers of providers, and dead letters (rules X5, X6, F2, F4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from math import isfinite
from typing import Protocol

from heartbeat.attempt import NEXT, Attempt, DeadLetter, Life
from heartbeat.breaker import Breaker
from heartbeat.task import Ref

_LARGEST = 2**63 - 1


class Turns(Protocol):
    """The part of `Store` that is about turns; see there for what every method has in common.

    Every method that changes something may be one of many writes of a transaction. Whoever changes a breaker reads it
    within the same transaction: nobody else writes meanwhile.
    """

    def add_attempt(self, attempt: Attempt) -> bool:
        """Keeps a new attempt where nothing is in its way, and says whether it did (rule X5).

        In its way are: its id, where that is known; another unfinished attempt of its agent; and another unfinished
        attempt with one of its refs. One that has ended already takes neither agent nor ref. Of any number of callers
        at once, in one process or in many, one alone is told True. Raises ValueError for numbers that no store can
        keep.
        """
        ...

    def attempt(self, id_: str) -> Attempt | None: ...

    def attempts(
        self,
        *,
        refs: Iterable[Ref] | None = None,
        agent: str | None = None,
        unfinished: bool = False,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> tuple[Attempt, ...]:
        """The newest `limit` attempts, oldest first: in the order in which they were added, whatever the clock said.

        `refs` asks for those that share any of them, none for an empty one. `since` leaves out the ended ones of which
        every time (planned, accepted, ended) is earlier.
        """
        ...

    def advance_attempt(self, attempt: Attempt, before: Life) -> bool:
        """Keeps the attempt in place of what is known under its id, if that still stands at `before`; whether it did.

        So of all who saw a turn end, one alone collects its outcome (rule X6). Raises ValueError where the life of
        `attempt` is neither `before` nor one of `NEXT[before]`, where its agent or its refs are not those with which
        it was added, and where it has ended and its outcome would change.
        """
        ...

    def breakers(self) -> Mapping[str, Breaker]:
        """By provider, in the order of their names. A provider of which nothing was ever told has none."""
        ...

    def put_breaker(self, breaker: Breaker) -> None:
        """Keeps it, in place of what was kept for its provider."""
        ...

    def drop_breaker(self, name: str) -> bool:
        """Whether there was one."""
        ...

    def letter(self, id_: str) -> DeadLetter | None: ...

    def letters(
        self, *, refs: Iterable[Ref] | None = None, agent: str | None = None, open_only: bool = False
    ) -> tuple[DeadLetter, ...]:
        """Oldest first: in the order in which they were first put. `refs` asks for those that share any of them."""
        ...

    def put_letter(self, letter: DeadLetter) -> None:
        """Keeps it, in place of what was kept under its id."""
        ...


def refuse_transition(attempt: Attempt, before: Life) -> None:
    """Raises ValueError for a step that no attempt takes."""
    if attempt.life is not before and attempt.life not in NEXT[before]:
        raise ValueError(f"an attempt that is {before.value} does not become {attempt.life.value}")


def refuse_change(known: Attempt, attempt: Attempt) -> None:
    """Raises ValueError where what stands for good would be another."""
    if (attempt.agent, attempt.refs) != (known.agent, known.refs):
        raise ValueError(f"attempt {known.id!r} keeps its agent and its refs")
    if known.is_finished and attempt.outcome is not known.outcome:
        raise ValueError(f"attempt {known.id!r} has ended, and keeps its outcome")


def refuse_numbers(attempt: Attempt) -> None:
    """Raises ValueError for what a result may claim and no store can keep: it would come back as something else."""
    usage = attempt.usage
    whole = {
        "number": attempt.number,
        "tries": attempt.tries,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
    }
    for name, value in whole.items():
        if value is not None and not 0 <= value <= _LARGEST:
            raise ValueError(f"attempt {attempt.id!r} cannot have {name} = {value}")
    if attempt.exit_code is not None and abs(attempt.exit_code) > _LARGEST:
        raise ValueError(f"attempt {attempt.id!r} cannot have exit_code = {attempt.exit_code}")
    if usage.cost_usd is not None and not (isfinite(usage.cost_usd) and usage.cost_usd >= 0):
        raise ValueError(f"attempt {attempt.id!r} cannot have cost_usd = {usage.cost_usd}")


def share(refs: Iterable[Ref], asked: frozenset[Ref] | None) -> bool:
    """Whether any of `refs` is asked for; None asks for all, also for those without refs."""
    return asked is None or not asked.isdisjoint(refs)
