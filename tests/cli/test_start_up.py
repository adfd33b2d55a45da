"""Start-up is part of the product: the command runs from cron thousands of times a day."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from heartbeat.cli.main import COMMANDS, app
from heartbeat.cli.parsers import found, group_of
from heartbeat.cli.session import accept_environment_file
from tests.support.command import heartbeat

HEAVY = ("httpx", "jinja2", "pydantic", "websockets", "sqlite3", "yaml", "rich", "croniter", "markdown_it", "asyncio")
NOT_FOR_FILES = {"httpx", "websockets", "ssl", "jinja2", "rich", "asyncio", "croniter"}

SCRIPT = """
import json, sys
from heartbeat.cli.main import main
sys.argv = ["heartbeat", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps([code or 0, sorted(sys.modules)]))
"""


def imported(words: list[str], cwd: Path | None = None) -> list[str]:
    """The names of all modules that a command has imported at its end, which is a good one."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    return list(modules)


def packages(modules: list[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["tick", "--help"]])
def test_version_and_help_import_nothing_heavy_and_no_source(words: list[str]) -> None:
    modules = imported(words)
    assert not packages(modules) & set(HEAVY)
    assert not [name for name in modules if name.startswith("heartbeat.systems")]


def test_a_beat_of_saved_files_imports_no_client_and_no_template(team: Path) -> None:
    """What asks a Gateway or an API is for those who have one, and who starts no turn needs no prompt."""
    modules = imported(["tick", "--all", "--scheduled"], team)
    assert "markdown_it" in modules  # it has read the TODO files
    assert not packages(modules) & NOT_FOR_FILES


def test_a_minute_in_which_nobody_is_due_reads_nothing(team: Path) -> None:
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text().replace("class:", "every: 60d, class:"))
    assert heartbeat("tick", "--all", cwd=team).code == 0
    modules = imported(["tick", "--due", "--scheduled"], team)
    assert not packages(modules) & {*NOT_FOR_FILES, "markdown_it"}


def test_only_the_parser_of_the_command_that_is_called_is_made() -> None:
    whole = group_of(app, COMMANDS)
    assert {"tick", "cron", "rounds"} <= set(whole.commands)
    assert whole.commands._made == {}
    assert whole.commands["tick"] is whole.commands["tick"]
    assert list(whole.commands._made) == ["tick"]


def test_the_parsers_are_those_that_typer_makes() -> None:
    ours: Any = group_of(app, COMMANDS)
    theirs: Any = get_command(registered())
    assert list(ours.commands) == list(theirs.commands)
    for name, command in theirs.commands.items():
        accept_environment_file(command)
        assert described(ours.commands[name]) == described(command)
    assert described(ours) == described(theirs)


def registered() -> typer.Typer:
    """All commands, given to Typer at once."""
    whole = copy(app)
    whole.registered_commands, whole.registered_groups = [], []
    for name, where in COMMANDS.items():
        content = found(where)
        if isinstance(content, typer.Typer):
            whole.add_typer(content, name=name)
        else:
            whole.command(name)(content)
    return whole


def test_a_command_brings_no_other_along(team: Path) -> None:
    modules = imported(["receipts"], team)
    ours = {where.split(".")[0] for where in COMMANDS.values()}
    assert {f"heartbeat.cli.{name}" for name in ours} & set(modules) == {"heartbeat.cli.receipts"}


def described(command: Any) -> tuple[Any, ...]:
    """What a parser takes and says of itself, and so all below it."""
    below = {name: described(each) for name, each in getattr(command, "commands", {}).items()}
    parameters = [(each.name, tuple(each.opts), each.required, each.type.name) for each in command.params]
    return command.name, command.help, type(command), parameters, command.context_settings, below
