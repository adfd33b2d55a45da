"""Waiting for the end of what was begun on one task, from attempt to attempt, until nothing more is to be tried (F1).

No lock is held meanwhile: a beat may collect a turn and begin the next one, and is followed then. Whoever stops waiting
stops nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from heartbeat.attempt import Attempt, DeadLetter, Life, Outcome
from heartbeat.dispatch.claims import finish_giving_back
from heartbeat.dispatch.collect import collect
from heartbeat.dispatch.single import Asked, LockedError, Room, dispatch, hooks, renewed, same
from heartbeat.dispatch.start import Result
from heartbeat.errors import RefusedError
from heartbeat.rules.dispatching import Reason
from heartbeat.store.locks import lease, try_exclusive

POLL = 2.0
"""Seconds between two looks at a turn: one question to the Gateway each."""

_LOOK = 30.0
"""Seconds that one look may take."""

_AGAIN = 15.0
"""Seconds before a task is tried again that nothing can be started on at this moment: every source is read for it."""

_FOR_NOW = frozenset({Reason.BREAKER_OPEN, Reason.BUSY, Reason.CHANGED, Reason.LIMIT, Reason.NO_TIME})
"""Reasons that pass by themselves, while somebody waits."""


class End(StrEnum):
    """How the waiting ended."""

    COMPLETED = "completed"
    DEAD_LETTER = "dead_letter"
    STOPPED = "stopped"
    """The last attempt ended otherwise, and nothing more is tried now."""
    TIME_UP = "time_up"
    """The time to wait is over; the turn goes on."""


@dataclass(frozen=True, slots=True)
class Followed:
    """`attempts` are those that were followed, oldest first, the last as it stands. `told` says why nothing follows."""

    end: End
    attempts: tuple[Attempt, ...]
    letter: DeadLetter | None = None
    told: str = ""


def follow(
    room: Room, asked: Asked, begun: Attempt, *, until: datetime | None, tell: Callable[[str], None]
) -> Followed:
    """Follows the task from an attempt on. `until` is when to stop waiting, None for never; `tell` hears of what
    happens, a line at a time. Raises UsageError, StateError."""
    return _Follower(room, asked, until, tell).follow(begun)


class _Follower:
    def __init__(self, room: Room, asked: Asked, until: datetime | None, tell: Callable[[str], None]) -> None:
        self._room = room
        self._asked = asked
        self._until = until
        self._tell = tell
        self._seen: dict[str, Attempt] = {}
        self._trouble = ""
        self._waits_for = ""

    def follow(self, current: Attempt) -> Followed:
        store = self._room.context.store
        self._note(current)
        while True:
            current = self._looked_at(current)
            newer = self._newer(current)
            if newer is not None:
                current = newer
                self._note(current)
                continue
            if current.is_finished:
                if current.outcome is Outcome.COMPLETED:
                    return self._ended(End.COMPLETED)
                letters = store.letters(refs=current.refs, open_only=True)
                letter = next((each for each in letters if current.id in each.attempts), None)
                if letter is not None:
                    return self._ended(End.DEAD_LETTER, letter, current.error)
                if current.outcome is Outcome.ABORTED:
                    return self._ended(End.STOPPED, told=current.error)
                following = self._next()
                if isinstance(following, Followed):
                    return following
                if following is not None:
                    current = following
                    self._note(current)
                    continue
            elif not self._wait(POLL):
                return self._ended(End.TIME_UP)
            if self._is_late():
                return self._ended(End.TIME_UP)

    def _looked_at(self, attempt: Attempt) -> Attempt:
        """The attempt as it is now. One of which nobody knows whether it began is found out under its agent's lock."""
        if attempt.is_finished:
            return attempt
        context = renewed(self._room, _LOOK).context
        if attempt.life is Life.RUNNING:
            unseen = collect(context, frozenset()).unseen
        else:
            lock_file = context.locks / f"{attempt.agent}.lock"
            with try_exclusive(lock_file, purpose="dispatch --wait", until=lease(context.deadline)) as lock:
                collected = collect(context, {attempt.agent} if lock.held else frozenset())
                finish_giving_back(context, {attempt.agent} if lock.held else ())
                unseen = collected.unseen
        for each, why in unseen:
            if each.id == attempt.id and why != self._trouble:
                self._tell(f"attempt {each.number} cannot be looked at now: {why}")
                self._trouble = why
        found = context.store.attempt(attempt.id) or attempt
        if found.is_finished:
            finish_giving_back(context)
            hooks(context)
            self._seen[found.id] = found
            self._tell(f"attempt {found.number} {_said(found)}")
        return found

    def _newer(self, attempt: Attempt) -> Attempt | None:
        """What somebody, a beat for example, has begun on the task since."""
        attempts = self._room.context.store.attempts(refs=attempt.refs)
        return next((each for each in reversed(attempts) if each.number > attempt.number), None)

    def _next(self) -> Attempt | Followed | None:
        """The next attempt; None where it has to wait, and has waited a little."""
        asked = self._asked
        try:
            again = dispatch(self._room, same(asked.task, asked.agent), asked.agent.id)
        except LockedError as error:
            return self._rests(str(error), POLL)
        except RefusedError as error:
            return self._ended(End.STOPPED, told=str(error))
        if again.begun is not None:
            for each in again.begun.attempts[:-1]:
                self._note(each)
            last = again.begun.attempt
            if again.begun.result is Result.FAILED or again.begun.result is Result.CONFLICT:
                self._note(last)
                return self._ended(End.STOPPED, told=again.begun.told)
            return last
        skip = again.refused
        if skip is None or skip.reason not in _FOR_NOW:
            return self._ended(End.STOPPED, told=skip.told if skip is not None else "")
        wait = _AGAIN
        if skip.until is not None:
            wait = max((skip.until - self._room.context.clock()).total_seconds(), POLL)
        return self._rests(skip.told, min(wait, 2 * _AGAIN))

    def _rests(self, why: str, seconds: float) -> Followed | None:
        if why != self._waits_for:
            self._tell(f"the next attempt waits: {why}")
            self._waits_for = why
        return None if self._wait(seconds) else self._ended(End.TIME_UP, told=why)

    def _wait(self, seconds: float) -> bool:
        """Whether there was time left to wait."""
        left = seconds
        if self._until is not None:
            left = min(seconds, (self._until - self._room.context.clock()).total_seconds())
        if left <= 0:
            return False
        self._room.context.pause(left)
        return True

    def _is_late(self) -> bool:
        return self._until is not None and self._room.context.clock() >= self._until

    def _note(self, attempt: Attempt) -> None:
        if attempt.id in self._seen:
            return
        self._seen[attempt.id] = attempt
        self._waits_for = self._trouble = ""
        if attempt.is_finished:
            self._tell(f"attempt {attempt.number} with {attempt.provider} {_said(attempt)}")
            return
        model = f" ({attempt.model})" if attempt.model else ""
        runs = "runs" if attempt.life is Life.RUNNING else "may run"
        self._tell(f"attempt {attempt.number} {runs} with {attempt.provider}{model}: {attempt.id}")

    def _ended(self, end: End, letter: DeadLetter | None = None, told: str = "") -> Followed:
        store = self._room.context.store
        attempts = (store.attempt(name) or known for name, known in self._seen.items())
        return Followed(end, tuple(sorted(attempts, key=lambda each: each.number)), letter, told)


def _said(attempt: Attempt) -> str:
    """How one that ended has ended."""
    outcome = attempt.outcome.value.replace("_", " ") if attempt.outcome is not None else "ended"
    return f"{outcome}: {attempt.error}" if attempt.error else outcome
