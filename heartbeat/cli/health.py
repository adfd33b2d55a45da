"""`heartbeat health`: does everybody beat, and is all well that beats need? Read-only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain
from heartbeat.errors import Exit
from heartbeat.plural import counted

if TYPE_CHECKING:
    from datetime import datetime

    from heartbeat.deep import Deep
    from heartbeat.roster.model import Agent, Roster
    from heartbeat.watch.health import Health
    from heartbeat.watch.overall import Check, Watching
    from heartbeat.watch.records import Records, SourceRecord

SCHEMA = "heartbeat.health/1"

_COLOURS = {
    "up": "green",
    "degraded": "yellow",
    "late": "yellow",
    "new": "dim",
    "failing": "bold red",
    "down": "bold red",
    "ok": "green",
    "warning": "yellow",
    "failed": "bold red",
}

Show = Callable[["datetime"], str]


def health(
    context: typer.Context,
    agent: Annotated[str | None, typer.Argument(metavar="AGENT", help="Only this agent.")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Ask OpenClaw too: do the agents still read what was rendered? 10 s at most.")
    ] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Does everybody beat? Exit 0: yes, or only late. 1: something is down or failing. 3: it could not be known."""
    from heartbeat.instants import to_text
    from heartbeat.watch.records import read

    session = Session(context, roster)
    asked = session.roster.chosen([agent]) if agent is not None else tuple(session.roster.agents.values())
    now = session.now()
    records = read(session.state, session.roster.agents, now, roster=session.roster)
    team = healths_of(session, records, now)
    shown = [each for each in team if each.agent in {one.id for one in asked}]
    watching = watching_of(session) if agent is None else None
    asking = _deep(session, asked) if deep else None
    if json_output:
        from heartbeat.cli import documents

        view = _View(records, shown, team, session.roster, watching, asking, show=to_text)
        documents.write(_document(view, session))
        if view.code is not Exit.OK:
            complain(view.verdict)
    else:
        show = local_in(session.roster.timezone)
        view = _View(records, shown, team, session.roster, watching, asking, show=show)
        _print(view)
    raise typer.Exit(view.code)


def healths_of(session: Session, records: Records, now: datetime) -> list[Health]:
    """How every agent of the roster stands, in its order."""
    from heartbeat.watch.health import Expected, health
    from heartbeat.watch.judgement import grace_of

    roster = session.roster
    known = _known_since(session)
    # What memory lost cannot be held against anybody.
    since = known if known is None or records.lost is None else max(known, min(records.lost.at, now))

    def expected(agent: Agent) -> Expected:
        return Expected(agent.id, agent.policy, roster.timezone, grace_of(roster), since)

    return [health(expected(agent), records.record(agent.id), now) for agent in roster.agents.values()]


def _deep(session: Session, team: Sequence[Agent]) -> Deep:
    """Whether the agents still read what was rendered; the only part of health that asks anybody."""
    from heartbeat.deep import look
    from heartbeat.render import command_line

    command = command_line(session.roster_option())
    return look(session.roster, team, session.environment, session.state, command=command)


def local_in(zone: str) -> Show:
    """Writes instants as the roster's people read them."""
    from heartbeat.cli import tables

    return lambda instant: tables.local(instant, zone)


def watching_of(session: Session) -> Watching:
    """What the watchdog has left in its notebook, wherever that lies."""
    from heartbeat.cli.session import name_of
    from heartbeat.watch.notebook import Shelf, places
    from heartbeat.watch.overall import Watching

    book, _ = Shelf(places(session.environment), name_of(session.roster.path)).read()
    return Watching(book.alarms.looked_at, book.state)


def _known_since(session: Session) -> datetime | None:
    """From when on everybody in the roster is certainly expected to beat: since the file changed last, in content or
    owner. A copy keeps the former and not the latter."""
    from datetime import UTC, datetime

    try:
        found = session.roster.path.stat()
    except OSError:
        return None
    return datetime.fromtimestamp(max(found.st_mtime, found.st_ctime), UTC)


class _View:
    """What is told, in the words of whom it is told to: `show` writes instants."""

    def __init__(
        self,
        records: Records,
        healths: Sequence[Health],
        team: Sequence[Health],
        roster: Roster,
        watching: Watching | None,
        deep: Deep | None,
        *,
        show: Show,
    ) -> None:
        from heartbeat.watch import overall

        self.records = records
        self.healths = healths
        self.team = team
        self.show = show
        # Of one agent the outbox, the sources and the watchdog are not asked about.
        whole = watching is not None
        self.checks: tuple[Check, ...] = (
            overall.checks(records, team, show, watching) if whole else overall.at_home(records)
        )
        self.deep = deep
        self.rows = (*self.checks, *(deep.rows if deep else ()))
        dispatch = frozenset(agent.policy.dispatch for agent in roster.agents.values())
        self.not_begun = overall.not_begun(records, team)
        self.degradation = None if self.not_begun else overall.level(records, dispatch=dispatch)
        down = {each.agent for each in healths if each.status.value == "down"}
        self.causes = causes_of(down, team, records, show)
        readable = records.exists and not records.trouble
        bad = overall.failing(healths, self.rows)
        self.code = Exit.FOUND if readable and bad else Exit.OK if readable and not self.not_begun else Exit.INCOMPLETE
        self.verdict = self._verdict()

    def _verdict(self) -> str:
        """The result in one line that can stand in a log by itself."""
        from heartbeat.watch import overall

        records = self.records
        if records.trouble:
            return f"UNKNOWN: {records.trouble}"
        if not records.exists:
            return f"UNKNOWN: there is no state in {records.state}: no beat has ever run there"
        word = {Exit.FOUND: "FOUND", Exit.OK: "OK"}.get(self.code, "UNKNOWN")
        failed = list(dict.fromkeys(check.name for check in self.rows if check.level is overall.Level.FAILED))
        named = [each.agent for each in self.healths if each.status.value in ("down", "failing")]
        told = (f": {', '.join(named)}" if named else "") + (f"; failed: {', '.join(failed)}" if failed else "")
        begun = f"{overall.unknown_yet(self.team)}; " if self.not_begun else ""
        return f"{word}: {begun}{overall.line(self.healths)}{told}"


def causes_of(
    agents: Collection[str], team: Sequence[Health], records: Records, show: Show
) -> Mapping[str, tuple[str, str]]:
    """Why these agents may not beat, and what to do, by agent. Nothing is known of it where records cannot be read, or
    are another team's."""
    from heartbeat.watch import causes
    from heartbeat.watch.processes import author

    if records.trouble or records.stranger is not None:
        return {}
    return {
        each.agent: causes.told(
            causes.likely(each, team, records, lambda receipt: author(receipt.pid, receipt.host, receipt.ended_at)),
            each.agent,
            show,
        )
        for each in team
        if each.agent in agents
    }


# JSON.


def _document(view: _View, session: Session) -> dict[str, Any]:
    """`heartbeat.health/1`."""
    from heartbeat.cli import documents
    from heartbeat.instants import to_text
    from heartbeat.rules.unfinished import exhausted, overdue

    records = view.records
    database, disk = records.database, records.disk
    return {
        "schema": SCHEMA,
        "generated_at": to_text(records.at),
        "exit_code": int(view.code),
        "verdict": view.verdict,
        **(documents.level(view.degradation) if view.degradation else {"level": None, "level_reasons": []}),
        "roster": str(session.roster.path),
        "state": {
            "path": str(records.state),
            "exists": records.exists,
            "trouble": records.trouble,
            "advice": records.advice,
            "version": None if database is None else database.version,
            "size_bytes": None if database is None else database.size,
            "set_aside": [] if database is None else list(database.aside),
            "memory_lost": None if records.lost is None else records.lost.reason,
            "free_bytes": None if disk is None else disk.free,
            "read_only": None if disk is None else disk.read_only,
        },
        "agents": [agent_document(each, view.causes.get(each.agent)) for each in view.healths],
        "sources": [_source_document(source) for source in records.sources],
        "turns": {
            "unfinished": len(records.turns),
            "overdue": [each.id for each in overdue(records.turns, records.at, records.uptime)],
            "letters": len(records.letters),
            "exhausted": [each.id for each in exhausted(records.letters)],
        },
        "outbox": {
            "waiting": records.outbox.waiting,
            "dead": records.outbox.dead,
            "overdue_since": _stamp(records.outbox.overdue_since),
        },
        "checks": [_check_document(check) for check in view.checks],
        "deep": None
        if view.deep is None
        else {"version": view.deep.version, "rows": [_check_document(row) for row in view.deep.rows]},
    }


def _check_document(check: Check) -> dict[str, str]:
    return {"name": check.name, "level": check.level.value, "message": check.message, "advice": check.advice}


def agent_document(found: Health, cause: tuple[str, str] | None = None) -> dict[str, Any]:
    """One agent's health as JSON."""
    from heartbeat.instants import to_text
    from heartbeat.watch.health import reason

    last = found.last
    return {
        "agent": found.agent,
        "status": found.status.value,
        "reason": reason(found, to_text),
        "cause": "" if cause is None else cause[0],
        "advice": "" if cause is None else cause[1],
        "last_beat": None if last is None else to_text(last.started_at),
        "last_slot": None if last is None else _stamp(last.slot),
        "outcome": None if last is None else last.outcome,
        "host": None if last is None else last.host,
        "pid": None if last is None else last.pid,
        "lateness_seconds": None if found.lateness is None else round(found.lateness.total_seconds(), 3),
        "interval_seconds": found.interval.total_seconds(),
        "due_at": _stamp(found.due_at),
        "expected_by": _stamp(found.expected_by),
        "missing_seconds": None if found.missing is None else round(found.missing.total_seconds(), 3),
        "failures": found.failures,
        "missed_slots": found.missed,
        "running_since": _stamp(found.running),
        "paused": None if found.pause is None else found.pause.why,
    }


def _source_document(source: SourceRecord) -> dict[str, Any]:
    from heartbeat.instants import to_text

    return {
        "name": source.name,
        "status": source.status,
        "message": source.message,
        "at": to_text(source.at),
        "since": _stamp(source.since),
        "complete_at": _stamp(source.complete_at),
    }


def _stamp(instant: datetime | None) -> str | None:
    from heartbeat.instants import to_text

    return None if instant is None else to_text(instant)


# Tables.


def _print(view: _View) -> None:
    from heartbeat.cli import tables

    out = tables.console()
    records, checks = view.records, list(view.rows)
    if records.trouble:
        out.print(tables.cell(f"cannot be read: {records.trouble}", "bold red"), soft_wrap=True)
        out.print(tables.cell(f"  {records.advice}", "dim"), soft_wrap=True)
    elif not records.exists:
        advice = "begin to beat, or name the directory that the beats use: `state` in the roster, HEARTBEAT_HOME"
        out.print(tables.cell(f"there is no state in {records.state}", "bold red"), soft_wrap=True)
        out.print(tables.cell(f"  {advice}", "dim"), soft_wrap=True)
    else:
        # Lost memory explains what is said of the agents.
        first = [check for check in view.rows if check.name == "state"] if records.lost is not None else []
        if first:
            out.print(_checks_table(first))
            out.print()
        out.print(_agents_table(view))
        checks = [check for check in view.rows if check not in first]
    if checks:
        out.print()
        out.print(_checks_table(checks))
    out.print()
    if view.degradation is not None:
        out.print(tables.level_line(view.degradation), soft_wrap=True)
    out.print(tables.cell(view.verdict, "bold"), soft_wrap=True)


def _checks_table(checks: Sequence[Check]) -> Any:
    from heartbeat.cli import tables

    table = tables.grid({"no_wrap": True}, {"no_wrap": True}, {"overflow": "fold"})
    for check in checks:
        told = tables.cell(check.message)
        if check.advice:
            told.append("\n").append_text(tables.cell(check.advice, "dim"))
        level = tables.cell(check.level.value, _COLOURS[check.level.value])
        table.add_row("", tables.cell(check.name), level, told)
    return table


def _agents_table(view: _View) -> Any:
    from heartbeat.cli import tables, wording
    from heartbeat.watch.health import reason

    fixed: dict[str, Any] = {"no_wrap": True}
    table = tables.grid(fixed, fixed, fixed, {"overflow": "fold"})
    for each in view.healths:
        never = "not yet" if each.interrupted else "never"
        age = never if each.last is None else wording.age_of(each.last.started_at, each.at)
        said = tables.cell(reason(each, view.show))
        notes = [*view.causes.get(each.agent, ()), *_notes(each)]
        for note in notes:
            said.append("\n").append_text(tables.cell(note, "dim"))
        status = tables.cell(each.status.value, _COLOURS[each.status.value])
        table.add_row("", tables.cell(each.agent), status, tables.cell(age, "dim"), said)
    return table


def _notes(found: Health) -> list[str]:
    from heartbeat.instants import format_duration

    notes = []
    if found.missed:
        slots = counted(found.missed, "slot")
        notes.append(f"missed {slots} in the last day")
    if found.lateness is not None and found.lateness.total_seconds() > _LATE:
        notes.append(f"its last beat began {format_duration(found.lateness)} late")
    if found.pause is not None:
        notes.append(f"paused: {found.pause.why}; beats come all the same")
    return notes


_LATE = 60.0
"""Seconds: cron knows no shorter time than a minute."""
