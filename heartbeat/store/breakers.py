"""What the file keeps of providers: a breaker for each, shared by all processes (rules F2, F3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heartbeat.breaker import Breaker, State
from heartbeat.store.columns import bound, instant_if_any, number, stamp_if_any, text
from heartbeat.store.database import Database

_COLUMNS = "provider, state, failures, openings, until, probe, probe_at, coolings, cooled_until, why, changed_at"


class BreakerTable(Database):
    """The table `breakers`."""

    def breakers(self) -> Mapping[str, Breaker]:
        rows = self._execute(f"SELECT {_COLUMNS} FROM breakers")  # noqa: S608
        with self._decoding("breakers"):
            found = {breaker.provider: breaker for breaker in map(_breaker, rows)}
        return {name: found[name] for name in sorted(found)}

    def put_breaker(self, breaker: Breaker) -> None:
        values = _values(breaker)
        self._change(
            f"INSERT OR REPLACE INTO breakers ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608
            values,
        )

    def drop_breaker(self, name: str) -> bool:
        return self._change("DELETE FROM breakers WHERE provider = ?", (bound(name),)) > 0


def _values(breaker: Breaker) -> tuple[Any, ...]:
    return (
        bound(breaker.provider),
        breaker.state.value,
        breaker.failures,
        breaker.openings,
        stamp_if_any(breaker.until),
        bound(breaker.probe),
        stamp_if_any(breaker.probe_at),
        breaker.coolings,
        stamp_if_any(breaker.cooled_until),
        bound(breaker.why),
        stamp_if_any(breaker.changed_at),
    )


def _breaker(row: tuple[Any, ...]) -> Breaker:
    return Breaker(
        provider=text(row[0]),
        state=State(row[1]),
        failures=number(row[2]),
        openings=number(row[3]),
        until=instant_if_any(row[4]),
        probe=text(row[5]),
        probe_at=instant_if_any(row[6]),
        coolings=number(row[7]),
        cooled_until=instant_if_any(row[8]),
        why=text(row[9]),
        changed_at=instant_if_any(row[10]),
    )
