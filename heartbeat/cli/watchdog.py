"""`heartbeat watchdog`: tells the operator when beats stop, and when they are back. A short job of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli.health import agent_document
from heartbeat.cli.scheduled import ScheduledOption, scheduled
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain, name_of, state_of
from heartbeat.errors import CannotWriteError, Exit
from heartbeat.plural import counted

if TYPE_CHECKING:
    from heartbeat.roster.model import Roster
    from heartbeat.watch.watchdog import Room, Watched

SCHEMA = "heartbeat.watchdog/1"


def watchdog(
    context: typer.Context,
    for_scheduler: ScheduledOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing anywhere: nothing is remembered, sent or pinged.")
    ] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """One look at whether the beats come; tells the operator once when not, and once when they are back. Run it each
    minute, apart from the beats. Exit 0: all is well. 1: something is wrong. 3: it could not be known."""
    from heartbeat.watch.watchdog import alone, watch

    with scheduled(for_scheduler):
        room = _room(Session(context, roster, lenient=True))
        if dry_run:
            found = watch(room, dry_run=True)
        else:
            with alone(room) as other:
                if other:
                    complain(f"another watchdog is running ({other}); this one does nothing")
                    return
                found = watch(room)
        for note in found.notes:
            complain(note)
        if not found.reachable and (found.waiting or not for_scheduler):
            complain("nobody can be told: no channel leads to whom watchdog.notify means; set operator.notify")
        if json_output:
            from heartbeat.cli import documents

            documents.write(_document(found, dry_run))
        elif for_scheduler:
            for line in _line(found):
                typer.echo(line)
        else:
            _print(found, dry_run)
        if found.kept is None and not dry_run:
            raise CannotWriteError(
                "the watchdog can remember nothing: everything is told again and again",
                advice="make room where its notebook lies (docs/watchdog.md), or set XDG_STATE_HOME",
            )
        if not for_scheduler:
            raise typer.Exit(_code(found))


def _room(session: Session) -> Room:
    from heartbeat.watch.notebook import Shelf, places
    from heartbeat.watch.watchdog import Room

    path = _roster_path(session)

    def state(roster: Roster) -> Path:
        home = session.environment.get("HEARTBEAT_HOME")
        return Path(home).expanduser().absolute() if home else state_of(roster)

    def load() -> Roster:
        if session.environment_trouble is not None:
            raise session.environment_trouble
        return session.roster

    return Room(
        path=path,
        load=load,
        state_of=state,
        environment=session.environment,
        shelf=Shelf(places(session.environment), name_of(path)),
        clock=session.now,
    )


def _roster_path(session: Session) -> Path:
    """The roster that is meant, also where there is none any more: what is remembered of it goes by its path."""
    from heartbeat.errors import UsageError
    from heartbeat.roster.expansion import expand_home
    from heartbeat.roster.locate import VARIABLE, find_roster

    named = session.roster_path or session.environment.get(VARIABLE)
    try:
        return find_roster(session.roster_path, session.environment, Path.cwd()).absolute()
    except UsageError:
        if not named:
            raise
        return (Path.cwd() / expand_home(named, session.environment)).absolute()


def _code(found: Watched) -> Exit:
    from heartbeat.watch.flips import STORE

    if not found.troubles:
        return Exit.OK
    return Exit.INCOMPLETE if set(found.troubles) == {STORE} else Exit.FOUND


def _line(found: Watched) -> Iterator[str]:
    """For a log: a line a look, and one for each thing that is wrong."""
    from heartbeat.cli.scheduled import seconds
    from heartbeat.cli.terminal import plain
    from heartbeat.watch import overall

    at = seconds(found.scene.at)
    yield plain(f"{at} watchdog: {overall.line(found.scene.healths)}{_told(found)}")
    for key, sentence in found.sentences.items():
        yield plain(f"{at} {key}: {sentence}")


def _told(found: Watched) -> str:
    """What was told to whom."""
    delivered = found.delivered
    sent = f"; told {', '.join(dict.fromkeys(delivered.sent))}" if delivered and delivered.sent else ""
    waiting = f"; {counted(found.waiting, 'message')} to be told" if found.waiting and delivered else ""
    return sent + waiting


def _print(found: Watched, dry_run: bool) -> None:
    from heartbeat.cli import tables
    from heartbeat.watch import overall

    out = tables.console()
    if found.sentences:
        table = tables.grid({"no_wrap": True}, {"overflow": "fold"})
        for key, sentence in found.sentences.items():
            since = "told" if key in found.alarms.standing else "not told yet"
            table.add_row("", tables.cell(since, "dim"), tables.cell(sentence))
        out.print(tables.cell(f"Wrong ({len(found.sentences)})", "bold red"))
        out.print(table)
        out.print()
    if found.message is not None:
        out.print(tables.cell("Would be told" if dry_run else "Told", "bold"))
        for text in (found.message.title, *found.message.body.splitlines()):
            out.print(tables.cell(f"  {text}"), soft_wrap=True)
        out.print()
    out.print(tables.cell(f"{overall.line(found.scene.healths)}{_told(found)}", "bold"), soft_wrap=True)


def _document(found: Watched, dry_run: bool) -> dict[str, Any]:
    """`heartbeat.watchdog/1`."""
    from heartbeat.instants import to_text

    scene, alarms, delivered = found.scene, found.alarms, found.delivered
    message = found.message
    return {
        "schema": SCHEMA,
        "generated_at": to_text(scene.at),
        "exit_code": int(_code(found)),
        "dry_run": dry_run,
        "roster": str(scene.roster.path),
        "state": str(scene.records.state),
        "notebook": None if found.kept is None else str(found.kept),
        "awake_since": None if alarms.awake_since is None else to_text(alarms.awake_since),
        "agents": [agent_document(each) for each in scene.healths],
        "troubles": [
            {
                "about": key,
                "kind": trouble.kind.value,
                "since": to_text(trouble.since),
                "tell_at": None if trouble.tell_at is None else to_text(trouble.tell_at),
                "told_at": to_text(alarms.standing[key].told_at) if key in alarms.standing else None,
                "message": found.sentences[key],
            }
            for key, trouble in found.troubles.items()
        ],
        "flips": [
            {
                "about": flip.key,
                "old": None if flip.old is None else flip.old.value,
                "new": None if flip.new is None else flip.new.value,
                "since": to_text(flip.since),
                "reminder": flip.reminder,
            }
            for flip in found.flips
        ],
        "message": None
        if message is None
        else {"level": message.level.value, "title": message.title, "body": message.body},
        "sent": [] if delivered is None else delivered.sent,
        "failed": [] if delivered is None else delivered.failed,
        "waiting": found.waiting,
        "reachable": found.reachable,
        "notes": list(found.notes),
    }
