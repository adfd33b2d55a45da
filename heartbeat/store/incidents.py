"""What the file keeps of the ladder and of what people said about it: incidents, holds, pauses (rules L1 to L5, T5)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from heartbeat.memory import Ending, Hold, Incident, Pause, Stage, Step, StepOutcome, StepTaken
from heartbeat.store.canonical import from_json, to_json
from heartbeat.store.columns import (
    bound,
    instant,
    instant_if_any,
    number,
    ref_of,
    ref_values,
    stamp,
    stamp_if_any,
    text,
)
from heartbeat.store.database import Database, where
from heartbeat.task import Owner, OwnerKind, Ref

_INCIDENT_COLUMNS = (
    "incident, source, id, refs, epoch, title, owner_kind, owner_id, opened_at, stage, number, steps, nudged_at, "
    "recovered_at, ended_at, ending, why, storm"
)


class IncidentTables(Database):
    """The tables `incidents`, `holds` and `pauses`."""

    def put_incident(self, incident: Incident) -> None:
        values = _incident_values(incident)
        self._change(
            f"INSERT OR REPLACE INTO incidents ({_INCIDENT_COLUMNS}) "  # noqa: S608
            f"VALUES ({', '.join('?' * len(values))})",
            values,
        )

    def incidents(self, *, open_only: bool = False, since: datetime | None = None) -> tuple[Incident, ...]:
        clause, values = where(
            ("stage <> ?", Stage.ENDED.value if open_only else None),
            ("(stage <> 'ended' OR opened_at >= ?)", stamp_if_any(since)),
        )
        rows = self._execute(f"SELECT {_INCIDENT_COLUMNS} FROM incidents {clause}", values)  # noqa: S608
        with self._decoding("incidents"):
            found = [_incident(row) for row in rows]
        return tuple(sorted(found, key=lambda incident: (incident.opened_at, incident.id), reverse=True))

    def holds(self) -> Mapping[Ref, Hold]:
        rows = self._execute("SELECT source, id, since, until, why, author FROM holds")
        with self._decoding("holds"):
            return {hold.ref: hold for hold in map(_hold, rows)}

    def put_hold(self, hold: Hold) -> None:
        self._change(
            "INSERT OR REPLACE INTO holds (source, id, since, until, why, author) VALUES (?, ?, ?, ?, ?, ?)",
            (*ref_values(hold.ref), stamp(hold.since), stamp(hold.until), bound(hold.why), bound(hold.by)),
        )

    def drop_hold(self, ref: Ref) -> bool:
        return self._change("DELETE FROM holds WHERE source = ? AND id = ?", ref_values(ref)) > 0

    def pauses(self) -> tuple[Pause, ...]:
        rows = self._execute("SELECT agent, since, until, why, author FROM pauses")
        with self._decoding("pauses"):
            found = [_pause(row) for row in rows]
        return tuple(sorted(found, key=lambda pause: pause.agent))

    def put_pause(self, pause: Pause) -> None:
        self._change(
            "INSERT OR REPLACE INTO pauses (agent, since, until, why, author) VALUES (?, ?, ?, ?, ?)",
            (bound(pause.agent), stamp(pause.since), stamp_if_any(pause.until), bound(pause.why), bound(pause.by)),
        )

    def drop_pause(self, agent: str) -> bool:
        return self._change("DELETE FROM pauses WHERE agent = ?", (bound(agent),)) > 0


def _incident_values(incident: Incident) -> tuple[Any, ...]:
    return (
        bound(incident.id),
        *ref_values(incident.ref),
        bound(to_json([[each.source, each.id] for each in incident.refs])),
        bound(incident.epoch),
        bound(incident.title),
        incident.owner.kind.value,
        bound(incident.owner.id),
        stamp(incident.opened_at),
        incident.stage.value,
        incident.number,
        bound(to_json([[taken.step, stamp(taken.at), taken.outcome, taken.detail] for taken in incident.steps])),
        stamp_if_any(incident.nudged_at),
        stamp_if_any(incident.recovered_at),
        stamp_if_any(incident.ended_at),
        None if incident.ending is None else incident.ending.value,
        bound(incident.why),
        incident.storm,
    )


def _incident(row: tuple[Any, ...]) -> Incident:
    return Incident(
        id=text(row[0]),
        ref=ref_of(row[1], row[2]),
        refs=tuple(ref_of(source, id_) for source, id_ in from_json(text(row[3]))),
        epoch=text(row[4]),
        title=text(row[5]),
        owner=Owner(OwnerKind(row[6]), text(row[7])),
        opened_at=instant(row[8]),
        stage=Stage(row[9]),
        number=number(row[10]),
        steps=tuple(
            StepTaken(Step(step), instant(at), StepOutcome(outcome), text(detail))
            for step, at, outcome, detail in from_json(text(row[11]))
        ),
        nudged_at=instant_if_any(row[12]),
        recovered_at=instant_if_any(row[13]),
        ended_at=instant_if_any(row[14]),
        ending=None if row[15] is None else Ending(row[15]),
        why=text(row[16]),
        storm=number(row[17]),
    )


def _hold(row: tuple[Any, ...]) -> Hold:
    source, id_, since, until, why, author = row
    return Hold(ref_of(source, id_), instant(since), instant(until), text(why), text(author))


def _pause(row: tuple[Any, ...]) -> Pause:
    agent, since, until, why, author = row
    return Pause(text(agent), instant(since), instant_if_any(until), text(why), text(author))
