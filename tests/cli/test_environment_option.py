"""`--env-file`: values for what the environment lacks, on every command that takes a roster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartbeat.cli import session
from heartbeat.cli.main import application
from tests.support.command import heartbeat


@pytest.fixture
def placed(team: Path) -> Path:
    """The sample team, whose board is named by the environment."""
    roster = team / "agents.yaml"
    text = roster.read_text()
    assert "workboard.json" in text
    roster.write_text(text.replace("workboard.json", '"${BOARD}"'))
    return team


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


GOOD = "BOARD=workboard.json\n"


def test_without_it_the_variable_is_missing(placed: Path) -> None:
    done = heartbeat("roster", "check", cwd=placed)
    assert done.code == 2
    assert "BOARD is not set" in done.err


def test_it_is_taken_before_and_behind_the_command_and_the_one_behind_wins(placed: Path) -> None:
    write(placed / "good", GOOD)
    write(placed / "bad", "BOARD='/no/such/board.json'\n")
    for words in (("--env-file", "good", "tasks"), ("tasks", "--env-file", "good")):
        assert heartbeat(*words, "--strict", cwd=placed).code == 0
    assert heartbeat("--env-file", "bad", "tasks", "--strict", "--env-file", "good", cwd=placed).code == 0
    assert heartbeat("--env-file", "bad", "tasks", "--strict", cwd=placed).code == 3


def test_the_variable_and_the_users_own_file_name_one_too(placed: Path) -> None:
    file = write(placed / "good", GOOD)
    assert heartbeat("roster", "check", cwd=placed, HEARTBEAT_ENV_FILE=str(file)).code == 0
    write(placed / ".config" / "heartbeat" / "environment", GOOD)
    assert heartbeat("roster", "check", cwd=placed).code == 0


def test_the_environment_goes_first(placed: Path) -> None:
    write(placed / "bad", "BOARD='/no/such/board.json'\n")
    done = heartbeat("tasks", "--strict", "--env-file", "bad", cwd=placed, BOARD="workboard.json")
    assert done.code == 0


def test_a_mistake_is_told_with_its_line_and_without_its_value(placed: Path) -> None:
    file = write(placed / "wrong", GOOD + "TOKEN='s3cr3t\n")
    done = heartbeat("roster", "check", "--env-file", "wrong", cwd=placed)
    assert done.code == 2
    assert f"heartbeat: {file}:2: TOKEN: the value begins with '" in done.err
    assert "s3cr3t" not in done.err


def test_a_file_that_others_can_read_is_a_warning_but_not_each_minute(placed: Path) -> None:
    write(placed / "good", GOOD, 0o644)
    done = heartbeat("roster", "check", "--env-file", "good", cwd=placed)
    assert done.code == 0
    assert "can be read or changed by others" in done.err
    done = heartbeat("tick", "--due", "--scheduled", "--env-file", "good", cwd=placed)
    assert done.code == 0
    assert "can be read" not in done.err


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment of the test's own, put back with what files have added to it."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(session, "_added", {})
    return tmp_path


class Context:
    """What a command's session needs of its context."""

    def __init__(self, file: Path) -> None:
        self.obj = {"roster": None, "environment_file": str(file)}


def session_with(file: Path) -> session.Session:
    context: Any = Context(file)
    return session.Session(context)


def test_libraries_see_it_and_a_second_reading_forgets_the_first(own_environment: Path) -> None:
    file = write(own_environment / "environment", "FIRST=1\nPROXY=a\n")
    os.environ["PROXY"] = "own"
    assert session_with(file).environment["FIRST"] == "1"
    assert (os.environ["FIRST"], os.environ["PROXY"]) == ("1", "own")
    write(file, "FIRST=2\nSECOND=3\n")
    seen = session_with(file)
    assert (seen.environment["FIRST"], seen.environment["SECOND"]) == ("2", "3")
    write(file, "")
    assert "FIRST" not in session_with(file).environment
    assert "FIRST" not in os.environ
    assert seen.environment_file == file


def commands_of(group: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, below in group.commands.items():
        if hasattr(below, "commands"):
            yield from commands_of(below, (*names, name))
        else:
            yield (*names, name), below


def test_every_command_that_takes_a_roster_takes_it() -> None:
    taking = {
        names: [option for parameter in command.params for option in parameter.opts]
        for names, command in commands_of(application())
    }
    assert sum("--roster" in options for options in taking.values()) > 30
    for names, options in taking.items():
        assert ("--env-file" in options) == ("--roster" in options), names
