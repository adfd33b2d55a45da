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

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULT = timedelta(days=90)
_SHORTEST = timedelta(days=2)
"""When an item was last seen is written down once a day only: less would forget what is still there."""

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
    """Forget what is older than the roster's `retention`; tell which damaged databases that were set aside are."""
    session = Session(context, roster)
    kept = _retention(session)
    now = session.now()
    before = now - kept
    rows = _rehearse(session, before) if dry_run else _forget(session, before)
    old = tuple(each for each in _quarantined(session.state) if each.since < before)
    if json_output:
        _print_json(now, before, kept, rows, old, dry_run=dry_run)
        return
    from heartbeat.cli import tables
    from heartbeat.instants import format_duration

    verb = "would be forgotten" if dry_run else "forgotten"
    rows_said = f"{rows} row{'s' * (rows != 1)}"
    when = tables.local(before, session.roster.timezone)
    typer.echo(f"{rows_said} {verb}: all that is older than {format_duration(kept)} (before {when})")
    for each in old:
        age = format_duration(now - each.since)
        typer.echo(
            f"  {each.path} ({each.size} bytes) was set aside {age} ago; delete it when nobody needs it any more"
        )


def _retention(session: Session) -> timedelta:
    configured = session.roster.extra.get("retention")
    return max(configured if isinstance(configured, timedelta) else _DEFAULT, _SHORTEST)


def _forget(session: Session, before: datetime) -> int:
    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        return store.forget_before(before)


def _rehearse(session: Session, before: datetime) -> int:
    from heartbeat.store.rehearsal import rehearsal

    with session.store(read_only=True) as store:
        operators.warn_of_loss(store)
    with rehearsal(session.state) as copy:
        return 0 if copy is None else copy.forget_before(before)


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
    now: datetime, before: datetime, kept: timedelta, rows: int, old: tuple[Quarantined, ...], *, dry_run: bool
) -> None:
    from heartbeat.cli import documents
    from heartbeat.instants import format_duration, to_text

    quarantined: list[dict[str, Any]] = [
        {"path": str(each.path), "since": to_text(each.since), "bytes": each.size} for each in old
    ]
    documents.write(
        {
            "schema": "heartbeat.gc/1",
            "generated_at": to_text(now),
            "dry_run": dry_run,
            "retention": format_duration(kept),
            "before": to_text(before),
            "rows": rows,
            "quarantined": quarantined,
        }
    )
