"""The parser of each command, made when it is asked for: a beat needs one of sixty, and to make them all takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import typer
from typer.main import get_command, get_command_from_info, get_group_from_info

from heartbeat.cli.session import accept_environment_file


class Parsers(Mapping[str, Any]):
    """Parsers by the names of their commands, in the order of `makers`; each is made once, and given to `finish`."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]], finish: Callable[[Any], None]) -> None:
        self._makers = makers
        self._finish = finish
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            made = self._makers[name]()
            accept_environment_file(made)
            self._finish(made)
            self._made[name] = made
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def group_of(app: typer.Typer, commands: Mapping[str, str], finish: Callable[[Any], None] = lambda parser: None) -> Any:
    """The parser of `app`, as `typer.main.get_command` makes it, with `commands` that come as they are asked for: the
    name of each, and where in this package it stands (`module.attribute`). `finish` is given each of them, and the
    whole."""
    group: Any = get_command(app)
    finish(group)
    group.commands = Parsers({name: partial(_made, app, name, where) for name, where in commands.items()}, finish)
    return group


def found(where: str) -> Any:
    """What stands at `module.attribute`: the function of a command, or a group's Typer."""
    module, attribute = where.split(".")
    return getattr(import_module(f"{__package__}.{module}"), attribute)


def _made(app: typer.Typer, name: str, where: str) -> Any:
    how: dict[str, Any] = {
        "pretty_exceptions_short": app.pretty_exceptions_short,
        "rich_markup_mode": app.rich_markup_mode,
    }
    one, content = typer.Typer(), found(where)
    if isinstance(content, typer.Typer):
        one.add_typer(content, name=name)
        return get_group_from_info(one.registered_groups[0], suggest_commands=app.suggest_commands, **how)
    one.command(name)(content)
    return get_command_from_info(one.registered_commands[0], **how)
