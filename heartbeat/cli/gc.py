"""`heartbeat gc`: retention now. Every beat does the same; this says what it comes to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli import operators
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session
from heartbeat.plural import counted

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULT = timedelta(days=90)
_SET_ASIDE = re.compile(r"corrupt-(\d{8}T\d{6})Z")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A database that was set aside because it was damaged. heartbeat never deletes one."""

    path: Path
    since: datetime
    size: int


def gc(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; change nothing.")] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Forget what is older than the roster's `retention`, and notebooks of rosters that are gone; tell which damaged
    databases that were set aside are."""
    from heartbeat.retention import limit_of

    session = Session(context, roster)
    kept = _retention(session)
    now = session.now()
    before = limit_of(kept, session.roster, now)
    rows = _rehearse(session, before, now) if dry_run else _forget(session, before, now)
    old = tuple(each for each in _quarantined(session.state) if each.since < before)
    notebooks = () if rows is None else _notebooks(session, before, dry_run=dry_run)
    if json_output:
        _print_json(now, before, kept, rows, old, notebooks, dry_run=dry_run)
        return
    from heartbeat.cli import tables
    from heartbeat.instants import exact_duration, format_duration

    verb = "would be forgotten" if dry_run else "forgotten"
    if rows is None:
        present = tables.local(now, session.roster.timezone)
        typer.echo(
            f"nothing {verb}: no beat is on record that began between half a day and two days ago, so the clock may be "
            f"wrong (it shows {present}); where it is right, let the team beat for a day"
        )
    else:
        when = tables.local(before, session.roster.timezone)
        typer.echo(f"{counted(rows, 'row')} {verb}: all that is older than {exact_duration(kept)} (before {when})")
    for path in notebooks:
        typer.echo(f"  {path} {verb}: what a watchdog remembered of a roster that is gone")
    for each in old:
        age = format_duration(now - each.since)
        typer.echo(
            f"  {each.path} ({counted(each.size, 'byte')}) was set aside {age} ago; delete it when nobody needs it "
            "any more"
        )


def _retention(session: Session) -> timedelta:
    from heartbeat.retention import SHORTEST

    configured = session.roster.extra.get("retention")
    return max(configured if isinstance(configured, timedelta) else _DEFAULT, SHORTEST)


def _forget(session: Session, before: datetime, now: datetime) -> int | None:
    """How many rows went; None where none may go by this clock."""
    from heartbeat.retention import clock_has_held

    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        if not clock_has_held(store, session.roster, now):
            return None
        return store.forget_before(before)


def _rehearse(session: Session, before: datetime, now: datetime) -> int | None:
    from heartbeat.retention import clock_has_held
    from heartbeat.store.rehearsal import rehearsal

    with session.store(read_only=True) as store:
        operators.warn_of_loss(store)
        if not clock_has_held(store, session.roster, now):
            return None
    with rehearsal(session.state) as copy:
        return 0 if copy is None else copy.forget_before(before)


def _notebooks(session: Session, before: datetime, *, dry_run: bool) -> tuple[Path, ...]:
    """The watchdog's, of rosters that are gone, which are removed. Raises CannotWriteError."""
    from heartbeat.errors import CannotWriteError
    from heartbeat.watch.abandoned import abandoned, remove
    from heartbeat.watch.notebook import places

    found = abandoned(places(session.environment), before)
    for path in () if dry_run else found:
        try:
            remove(path)
        except OSError as error:
            raise CannotWriteError(
                f"{path} cannot be removed: {error.strerror or error}", advice="it is of a roster that is gone"
            ) from error
    return found


def _quarantined(state: Path) -> Iterator[Quarantined]:
    from heartbeat.store.opening import DATABASE

    for path in sorted(state.glob(f"{DATABASE}.corrupt-*")):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue  # somebody deletes it right now
        yield Quarantined(path, _since(path, status.st_mtime), status.st_size)


def _since(path: Path, changed: float) -> datetime:
    """When it was set aside: its name tells, else when it was last written."""
    named = _SET_ASIDE.search(path.name)
    try:
        return datetime.strptime(f"{named[1]}+0000" if named else "", "%Y%m%dT%H%M%S%z")
    except ValueError:
        return datetime.fromtimestamp(changed, UTC)


def _print_json(
    now: datetime,
    before: datetime,
    kept: timedelta,
    rows: int | None,
    old: tuple[Quarantined, ...],
    notebooks: tuple[Path, ...],
    *,
    dry_run: bool,
) -> None:
    from heartbeat.cli import documents
    from heartbeat.instants import exact_duration, to_text

    quarantined: list[dict[str, Any]] = [
        {"path": str(each.path), "since": to_text(each.since), "bytes": each.size} for each in old
    ]
    documents.write(
        {
            "schema": "heartbeat.gc/1",
            "generated_at": to_text(now),
            "dry_run": dry_run,
            "retention": exact_duration(kept),
            "before": to_text(before),
            "clock_held": rows is not None,
            "rows": rows or 0,
            "quarantined": quarantined,
            "notebooks": [str(path) for path in notebooks],
        }
    )
