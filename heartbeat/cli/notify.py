"""`heartbeat notify test`: does a channel of the roster really reach somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session
from heartbeat.errors import UsageError

if TYPE_CHECKING:
    from heartbeat.notify.channels.base import ChannelError
    from heartbeat.notify.letter import Letter

app = typer.Typer(help="Try the ways in which people are told.", no_args_is_help=True, rich_markup_mode=None)

SCHEMA = "heartbeat.notify/1"


@app.callback()
def notify() -> None:
    """Try the ways in which people are told."""


@app.command("test")
def send_test(
    context: typer.Context,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A name under `channels:` in the roster.")],
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Send one test message through a channel now. Exit 1 when it could not be delivered."""
    from heartbeat.deadline import Deadline
    from heartbeat.notify.channels import open_channel
    from heartbeat.notify.channels.base import ChannelError

    session = Session(context, roster)
    channels = session.roster.channels
    if channel not in channels:
        known = f"its channels are {', '.join(channels)}" if channels else "it has none; write one under `channels:`"
        raise UsageError(f"{session.roster.path} has no channel {channel!r}", advice=known)
    kind = str(channels[channel]["kind"])
    address = ""
    try:
        opened = open_channel(channel, session.roster, session.environment)
        address = opened.address
        note = opened.send(_trial(session, channel), Deadline.after(opened.seconds))
    except ChannelError as error:
        if json_output:
            _print_json(channel, kind, address, error=error)
            raise typer.Exit(error.exit_code) from error
        raise
    if json_output:
        _print_json(channel, kind, address, note=note)
    else:
        from heartbeat.cli.terminal import plain

        typer.echo(plain(f"{channel} ({kind}): sent to {address}" + (f", {note}" if note else "")))


def _trial(session: Session, channel: str) -> Letter:
    from heartbeat.action import Level
    from heartbeat.instants import to_text
    from heartbeat.notify import wording
    from heartbeat.notify.letter import Letter

    at = to_text(session.now())
    key = f"test/{channel}/{at}"
    body = wording.trial_body(channel, str(session.roster.path), at)
    return Letter(key=key, level=Level.INFO, title=wording.trial_title(), body=body, keys=(key,))


def _print_json(channel: str, kind: str, address: str, *, note: str = "", error: ChannelError | None = None) -> None:
    from heartbeat.cli import documents

    documents.write(
        {
            "schema": SCHEMA,
            "channel": channel,
            "kind": kind,
            "address": address or None,
            "sent": error is None,
            "note": note,
            "failure": None if error is None else error.kind.value,
            "outcome_unknown": error is not None and error.outcome_unknown,
            "message": "" if error is None else str(error),
            "advice": "" if error is None else error.advice,
        }
    )
