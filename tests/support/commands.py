"""The commands that there are, found by walking the parsers, and words that each can be called with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from heartbeat.cli.main import application

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "tick": ("--all",),
    "render": ("--all",),
    "round": ("BIZ-28",),
    "resolve": ("1a2b3c4d", "--why", "x"),
    "hold": ("BIZ-28", "--for", "5m", "--why", "x"),
    "resume": ("--all",),
    "dispatch": ("BIZ-31",),
    "abort": ("hb-0c0ffee",),
    "explain": ("BIZ-28",),
    "worklist": ("coo",),
    "simulate": ("--days", "0.1"),
    **dict.fromkeys(("start", "done", "review"), ("BIZ-28",)),
    **dict.fromkeys(("reject", "block", "note"), ("BIZ-28", "--why", "x")),
    "cron remove": ("--all",),
    "rounds extend": ("BIZ-28", "20"),
    "outbox retry": ("--all",),
    "outbox drop": ("a1b2", "--why", "x"),
    "providers reset": ("--all",),
    "providers test": ("--all",),
    "dlq show": ("dl-0123",),
    "dlq retry": ("--all",),
    "dlq drop": ("dl-0123", "--why", "x"),
    "notify test": ("ops",),
}
"""What a command needs besides `--json` to be called rightly; nothing where it stands not here."""


def commands_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its names, and not the groups that hold them."""
    below = getattr(command, "commands", {})
    for name, each in below.items():
        yield from commands_of(each, (*path, name))
    if not below:
        yield path, command


def options_of(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def commands_with(option: str) -> list[tuple[str, ...]]:
    """The names of all commands that take this option."""
    return [path for path, command in commands_of(application()) if option in options_of(command)]
