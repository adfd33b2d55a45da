"""What the file keeps of attempts: who has which turn, and what became of it (rules X5, X6).

Two unique indexes hold what must not be twice, whoever writes: an agent has one unfinished attempt, and so has a ref.
The table `attempt_refs` says the refs of each attempt once more, one a row, for the second of them and for looking up.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Any

from heartbeat.attempt import Attempt, Cause, Engine, Life, Outcome, Stopwatch, Uptime, Usage
from heartbeat.store.canonical import to_json
from heartbeat.store.columns import (
    bound,
    bound_if_any,
    flag,
    instant,
    instant_if_any,
    json_array,
    number,
    number_if_any,
    real_if_any,
    ref_values,
    refs_json,
    refs_of,
    stamp,
    stamp_if_any,
    text,
)
from heartbeat.store.database import Database, integer, where
from heartbeat.store.turns import refuse_change, refuse_numbers, refuse_transition
from heartbeat.task import Ref, Status

_COLUMNS = (
    "id, agent, refs, task, title, number, engine, provider, planned_at, model, session, life, continued, before, "
    "letter, run, tries, spawned_at, accepted_at, deadline, ended_at, outcome, cause, exit_code, error, input_tokens, "
    "output_tokens, cost_usd, boot, uptime, lasted"
)
_CHANGING = _COLUMNS.split(", ")[3:]
"""All but what stands for good: the first three."""

_NEWEST = "max(planned_at, coalesce(accepted_at, planned_at), coalesce(ended_at, planned_at))"

_REFS_AT_ONCE = 200
"""SQLite takes a limited number of values in one statement."""


class AttemptTables(Database):
    """The tables `attempts` and `attempt_refs`."""

    def add_attempt(self, attempt: Attempt) -> bool:
        refuse_numbers(attempt)
        values = _values(attempt)
        # To look and to write is one transaction, which nobody else writes in; the indexes hold it in any case.
        with self._writing():
            if not attempt.is_finished and any(self._is_taken(ref) for ref in attempt.refs):
                return False
            added = self._change(
                f"INSERT INTO attempts ({_COLUMNS}) VALUES ({', '.join('?' * len(values))}) "  # noqa: S608
                "ON CONFLICT DO NOTHING",
                values,
            )
            if not added:
                return False
            self._write_all(
                "INSERT INTO attempt_refs (attempt, source, id, unfinished) "
                "SELECT sequence, ?, ?, ? FROM attempts WHERE id = ?",
                [
                    (*ref_values(ref), int(not attempt.is_finished), bound(attempt.id))
                    for ref in dict.fromkeys(attempt.refs)
                ],
            )
        return True

    def attempt(self, id_: str) -> Attempt | None:
        found = self._attempts("WHERE id = ?", (bound(id_),))
        return next(iter(found.values()), None)

    def attempts(
        self,
        *,
        refs: Iterable[Ref] | None = None,
        agent: str | None = None,
        unfinished: bool = False,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> tuple[Attempt, ...]:
        most = -1 if limit is None else integer(limit)
        asked: tuple[tuple[str, object], ...] = (
            ("agent = ?", bound_if_any(agent)),
            ("life <> 'ended'", () if unfinished else None),
            (f"(life <> 'ended' OR {_NEWEST} >= ?)", stamp_if_any(since)),
        )
        found: dict[int, Attempt] = {}
        # Told which index, since SQLite would rather go through all that ever ended.
        few = "INDEXED BY attempts_unfinished " if unfinished and refs is None else ""
        for sharing in [None] if refs is None else _some_at_a_time(refs):
            clause, values = where(*asked, (_sharing(sharing), sharing))
            found |= self._attempts(f"{few}{clause} ORDER BY sequence DESC LIMIT ?", (*values, most))
        newest_first = sorted(found, reverse=True)[: None if limit is None else most]
        return tuple(found[sequence] for sequence in reversed(newest_first))

    def advance_attempt(self, attempt: Attempt, before: Life) -> bool:
        refuse_transition(attempt, before)
        refuse_numbers(attempt)
        values = _values(attempt)[-len(_CHANGING) :]
        # To look and to write is one transaction, which nobody else writes in: two cannot both find it at `before`.
        with self._writing():
            known = self.attempt(attempt.id)
            if known is None or known.life is not before:
                return False
            refuse_change(known, attempt)
            self._change(
                f"UPDATE attempts SET {', '.join(f'{column} = ?' for column in _CHANGING)} WHERE id = ?",  # noqa: S608
                (*values, bound(attempt.id)),
            )
        return True

    def _is_taken(self, ref: Ref) -> bool:
        rows = self._execute(
            "SELECT 1 FROM attempt_refs WHERE source = ? AND id = ? AND unfinished = 1 LIMIT 1", ref_values(ref)
        )
        return bool(rows)

    def _forget_attempts(self, limit: str, named: frozenset[str]) -> int:
        """Drops ended ones; those that an open letter names, or that replayed one, stay."""
        rows = self._execute(
            f"SELECT id FROM attempts WHERE life = 'ended' AND {_NEWEST} < ? "  # noqa: S608
            "AND letter NOT IN (SELECT id FROM letters WHERE state NOT IN ('replayed', 'dropped'))",
            (limit,),
        )
        with self._decoding("attempts"):
            ids = {text(id_) for (id_,) in rows}
        return self._write_all("DELETE FROM attempts WHERE id = ?", [(bound(id_),) for id_ in sorted(ids - named)])

    def _attempts(self, clauses: str, values: tuple[object, ...]) -> dict[int, Attempt]:
        """By sequence."""
        rows = self._execute(f"SELECT sequence, {_COLUMNS} FROM attempts {clauses}", values)  # noqa: S608
        with self._decoding("attempts"):
            return {number(row[0]): _attempt(row[1:]) for row in rows}

    def _check_attempt_refs(self) -> None:
        """Raises StateError where the refs that are said twice are not the same: then two could have one ref."""
        rows = self._execute("SELECT attempt, source, id, unfinished FROM attempt_refs")
        known = self._attempts("", ())
        with self._decoding("attempt_refs"):
            said = {(number(sequence), text(source), text(id_), flag(taken)) for sequence, source, id_, taken in rows}
            expected = {
                (sequence, ref.source, ref.id, not attempt.is_finished)
                for sequence, attempt in known.items()
                for ref in attempt.refs
            }
            if said != expected:
                raise ValueError("it does not agree with attempts")


def _some_at_a_time(refs: Iterable[Ref]) -> Iterable[tuple[str | bytes, ...]]:
    """Their values, in pieces that one statement can take."""
    rest = iter(dict.fromkeys(refs))
    while some := tuple(islice(rest, _REFS_AT_ONCE)):
        yield tuple(value for ref in some for value in ref_values(ref))


def _sharing(values: tuple[str | bytes, ...] | None) -> str:
    pairs = ", ".join(["(?, ?)"] * (len(values or ()) // 2))
    # CROSS: each pair is looked up; SQLite would rather go through all of them.
    return (
        f"sequence IN (SELECT attempt FROM (VALUES {pairs}) AS asked "  # noqa: S608
        "CROSS JOIN attempt_refs AS known ON known.source = asked.column1 AND known.id = asked.column2)"
    )


def _values(attempt: Attempt) -> tuple[Any, ...]:
    return (
        bound(attempt.id),
        bound(attempt.agent),
        bound(refs_json(attempt.refs)),
        bound(attempt.task),
        bound(attempt.title),
        attempt.number,
        attempt.engine.value,
        bound(attempt.provider),
        stamp(attempt.planned_at),
        bound(attempt.model),
        bound(attempt.session),
        attempt.life.value,
        int(attempt.continued),
        bound(to_json([[ref.source, ref.id, status.value] for ref, status in attempt.before])),
        bound(attempt.letter),
        bound(attempt.run),
        attempt.tries,
        stamp_if_any(attempt.spawned_at),
        stamp_if_any(attempt.accepted_at),
        stamp_if_any(attempt.deadline),
        stamp_if_any(attempt.ended_at),
        None if attempt.outcome is None else attempt.outcome.value,
        None if attempt.cause is None else attempt.cause.value,
        attempt.exit_code,
        bound(attempt.error),
        attempt.usage.input_tokens,
        attempt.usage.output_tokens,
        attempt.usage.cost_usd,
        *_stopwatch_values(attempt.stopwatch),
    )


def _stopwatch_values(watch: Stopwatch | None) -> tuple[Any, ...]:
    return (None, None, None) if watch is None else (bound(watch.at.boot), watch.at.seconds, watch.seconds)


def _attempt(row: tuple[Any, ...]) -> Attempt:
    return Attempt(
        id=text(row[0]),
        agent=text(row[1]),
        refs=refs_of(row[2]),
        task=text(row[3]),
        title=text(row[4]),
        number=number(row[5]),
        engine=Engine(row[6]),
        provider=text(row[7]),
        planned_at=instant(row[8]),
        model=text(row[9]),
        session=text(row[10]),
        life=Life(row[11]),
        continued=flag(row[12]),
        before=tuple((Ref(text(source), text(id_)), Status(status)) for source, id_, status in json_array(row[13])),
        letter=text(row[14]),
        run=text(row[15]),
        tries=number(row[16]),
        spawned_at=instant_if_any(row[17]),
        accepted_at=instant_if_any(row[18]),
        deadline=instant_if_any(row[19]),
        ended_at=instant_if_any(row[20]),
        outcome=None if row[21] is None else Outcome(row[21]),
        cause=None if row[22] is None else Cause(row[22]),
        exit_code=number_if_any(row[23]),
        error=text(row[24]),
        usage=Usage(number_if_any(row[25]), number_if_any(row[26]), real_if_any(row[27])),
        stopwatch=_stopwatch(*row[28:31]),
    )


def _stopwatch(boot: object, uptime: object, lasted: object) -> Stopwatch | None:
    """None for an attempt that nothing was asked for yet, or of an older heartbeat. Raises TypeError, ValueError."""
    shown, seconds = real_if_any(uptime), real_if_any(lasted)
    if boot is None and shown is None and seconds is None:
        return None
    if shown is None or seconds is None:
        raise TypeError("half a stopwatch")
    return Stopwatch(Uptime(text(boot), shown), seconds)
