"""What the file keeps of tasks that no provider would do: dead letters (rule F4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from heartbeat.attempt import OPEN_LETTERS, DeadLetter, LetterState
from heartbeat.store.canonical import to_json
from heartbeat.store.columns import (
    bound,
    bound_if_any,
    flag,
    instant,
    instant_if_any,
    json_array,
    json_object,
    number,
    refs_json,
    refs_of,
    stamp,
    stamp_if_any,
    text,
)
from heartbeat.store.database import Database, where
from heartbeat.store.turns import share
from heartbeat.task import Ref

_COLUMNS = "id, refs, task, title, agent, created_at, due_at, error, attempts, tries, poison, state, closed_at, payload"
_CHANGING = _COLUMNS.split(", ")[1:]


class LetterTable(Database):
    """The table `letters`."""

    def letter(self, id_: str) -> DeadLetter | None:
        return next(iter(self._letters("WHERE id = ?", (bound(id_),))), None)

    def letters(
        self, *, refs: Iterable[Ref] | None = None, agent: str | None = None, open_only: bool = False
    ) -> tuple[DeadLetter, ...]:
        clause, values = where(
            ("agent = ?", bound_if_any(agent)),
            (
                f"state IN ({', '.join('?' * len(OPEN_LETTERS))})",
                tuple(sorted(OPEN_LETTERS)) if open_only else None,
            ),
        )
        asked = None if refs is None else frozenset(refs)
        return self._letters(f"{clause} ORDER BY sequence", values, asked)

    def put_letter(self, letter: DeadLetter) -> None:
        values = _values(letter)
        # Not replaced as a row: it keeps its place among the others.
        self._change(
            f"INSERT INTO letters ({_COLUMNS}) VALUES ({', '.join('?' * len(values))}) "  # noqa: S608
            f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in _CHANGING)}",
            values,
        )

    def _letters(
        self, clauses: str, values: tuple[object, ...], asked: frozenset[Ref] | None = None
    ) -> tuple[DeadLetter, ...]:
        rows = self._execute(f"SELECT {_COLUMNS} FROM letters {clauses}", values)  # noqa: S608
        with self._decoding("letters"):
            return tuple(_letter(row) for row in rows if asked is None or share(refs_of(row[1]), asked))


def _values(letter: DeadLetter) -> tuple[Any, ...]:
    return (
        bound(letter.id),
        bound(refs_json(letter.refs)),
        bound(letter.task),
        bound(letter.title),
        bound(letter.agent),
        stamp(letter.created_at),
        stamp(letter.due_at),
        bound(letter.error),
        bound(to_json(letter.attempts)),
        letter.tries,
        int(letter.poison),
        letter.state.value,
        stamp_if_any(letter.closed_at),
        bound(to_json(letter.payload)),
    )


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    return DeadLetter(
        id=text(row[0]),
        refs=refs_of(row[1]),
        task=text(row[2]),
        title=text(row[3]),
        agent=text(row[4]),
        created_at=instant(row[5]),
        due_at=instant(row[6]),
        error=text(row[7]),
        attempts=tuple(text(id_) for id_ in json_array(row[8])),
        tries=number(row[9]),
        poison=flag(row[10]),
        state=LetterState(row[11]),
        closed_at=instant_if_any(row[12]),
        payload=json_object(row[13]),
    )
