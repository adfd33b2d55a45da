"""Attempts, breakers and dead letters in memory: the twin of attempts.py, breakers.py and letters.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime

from heartbeat.attempt import Attempt, DeadLetter, Life
from heartbeat.breaker import Breaker
from heartbeat.store.canonical import utc
from heartbeat.store.contents import Contents, kept, newest_time
from heartbeat.store.turns import refuse_change, refuse_numbers, refuse_transition, share
from heartbeat.task import Ref


class TurnsInMemory(ABC):
    """Fulfils `Turns`."""

    _contents: Contents

    @abstractmethod
    def _refuse_if_read_only(self) -> None: ...

    def add_attempt(self, attempt: Attempt) -> bool:
        self._refuse_if_read_only()
        refuse_numbers(attempt)
        given = kept(attempt)
        if given.id in self._contents.attempts:
            return False
        if not given.is_finished and any(
            other.agent == given.agent or share(other.refs, frozenset(given.refs))
            for other in self._contents.attempts.values()
            if not other.is_finished
        ):
            return False
        self._contents.attempts[given.id] = given
        return True

    def attempt(self, id_: str) -> Attempt | None:
        return self._contents.attempts.get(id_)

    def attempts(
        self,
        *,
        refs: Iterable[Ref] | None = None,
        agent: str | None = None,
        unfinished: bool = False,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> tuple[Attempt, ...]:
        start = None if since is None else utc(since)
        asked = None if refs is None else frozenset(refs)
        found = [
            attempt
            for attempt in self._contents.attempts.values()
            if (agent is None or attempt.agent == agent)
            and not (unfinished and attempt.is_finished)
            and (start is None or not attempt.is_finished or newest_time(attempt) >= start)
            and share(attempt.refs, asked)
        ]
        return tuple(found if limit is None else found[max(0, len(found) - max(0, limit)) :])

    def advance_attempt(self, attempt: Attempt, before: Life) -> bool:
        self._refuse_if_read_only()
        refuse_transition(attempt, before)
        refuse_numbers(attempt)
        given = kept(attempt)
        known = self._contents.attempts.get(given.id)
        if known is None or known.life is not before:
            return False
        refuse_change(known, given)
        self._contents.attempts[given.id] = given
        return True

    def breakers(self) -> Mapping[str, Breaker]:
        return {name: self._contents.breakers[name] for name in sorted(self._contents.breakers)}

    def put_breaker(self, breaker: Breaker) -> None:
        self._refuse_if_read_only()
        self._contents.breakers[breaker.provider] = kept(breaker)

    def drop_breaker(self, name: str) -> bool:
        self._refuse_if_read_only()
        return self._contents.breakers.pop(name, None) is not None

    def letter(self, id_: str) -> DeadLetter | None:
        return self._contents.letters.get(id_)

    def letters(
        self, *, refs: Iterable[Ref] | None = None, agent: str | None = None, open_only: bool = False
    ) -> tuple[DeadLetter, ...]:
        asked = None if refs is None else frozenset(refs)
        return tuple(
            letter
            for letter in self._contents.letters.values()
            if (agent is None or letter.agent == agent)
            and (letter.is_open or not open_only)
            and share(letter.refs, asked)
        )

    def put_letter(self, letter: DeadLetter) -> None:
        self._refuse_if_read_only()
        self._contents.letters[letter.id] = kept(letter)
