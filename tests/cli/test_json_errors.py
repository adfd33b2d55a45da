"""With `--json` an error is a document too: one on stdout, whatever went wrong, and the words on stderr as ever."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from heartbeat.cli import failure, printed
from heartbeat.cli.main import application
from heartbeat.errors import Exit, StateError
from tests.support.command import Result, heartbeat
from tests.support.commands import ARGUMENTS, commands_of, commands_with, options_of
from tests.support.fake_schedulers import fake_schedulers

AT = "2026-11-21T04:00:00Z"
KEYS = ["schema", "generated_at", "exit_code", "message", "advice", "where", "findings"]
COMMANDS = commands_with("--json")
OF_A_ROSTER = [path for path in COMMANDS if path != ("init",)]
WITHOUT_STATE = {"init", "simulate", "render", "notify test", "roster show", "roster sync", "roster check", "doctor"}
WITHOUT_STATE |= {"cron install", "cron show", "cron diff", "cron remove", "health", "watchdog", "verify"}
WITHOUT_STATE |= {"providers test"}
"""Commands that need no state, or tell of one that cannot be used in their own document."""
OF_A_STATE = [path for path in COMMANDS if " ".join(path) not in WITHOUT_STATE]
NEITHER = {"demo", "run"}
"""Commands whose output no program reads: a picture of a sample team, and a daemon that writes a log."""


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", fake_schedulers(tmp_path / "bin").path)


@pytest.fixture
def broken(team: Path) -> Path:
    """A roster with two mistakes, in lines of their own."""
    roster = team / "agents.yaml"
    text = roster.read_text().replace("version: 1", "version: 1\nfoo: 2\ntimezone: Nowhere/Land", 1)
    roster.write_text(re.sub(r"^timezone: Asia.*\n", "", text, flags=re.MULTILINE))
    return team


def called(path: tuple[str, ...], *more: str) -> tuple[str, ...]:
    return (*path, *ARGUMENTS.get(" ".join(path), ()), *more)


def at_four(team: Path, *words: str) -> Result:
    with freeze_time(AT):
        return heartbeat(*words, cwd=team)


def error_of(done: Result) -> dict[str, Any]:
    """The one document on stdout, as an error's has to be."""
    document: dict[str, Any] = json.loads(done.out)
    assert list(document) == KEYS
    assert document["schema"] == "heartbeat.error/1"
    assert document["exit_code"] == done.code
    assert document["message"]
    return document


def test_every_command_prints_json_but_those_whose_output_no_program_reads() -> None:
    without = {" ".join(path) for path, command in commands_of(application()) if "--json" not in options_of(command)}
    assert without == NEITHER
    assert {words for words in ARGUMENTS if tuple(words.split()) not in COMMANDS} == set()


@pytest.mark.parametrize("path", OF_A_ROSTER, ids=" ".join)
def test_R1_mistakes_of_a_roster_are_findings_with_their_places(path: tuple[str, ...], broken: Path) -> None:
    done = at_four(broken, *called(path, "--json"))
    document = error_of(done)
    assert done.code == 2
    found = [(each["file"], each["line"], bool(each["column"])) for each in document["findings"]]
    roster = str(broken / "agents.yaml")
    lines = {number for number, line in enumerate(Path(roster).read_text().splitlines(), 1) if "Nowhere" in line}
    assert (roster, 3, True) in found
    assert (roster, *lines, True) in found
    assert document["where"] == {"file": roster, "line": 3, "column": 1}
    assert any(each["message"] == "unknown key `foo`" for each in document["findings"])
    assert "heartbeat: " in done.err


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_B5_a_wrong_call_is_a_document_too(path: tuple[str, ...], team: Path) -> None:
    done = at_four(team, *called(path, "--json", "--nonsense"))
    document = error_of(done)
    assert (done.code, document["where"], document["findings"]) == (2, None, [])
    assert "No such option: --nonsense" in document["message"]
    assert document["advice"] == f"`heartbeat {' '.join(path)} --help` shows how it is called"
    assert "Error: No such option: --nonsense" in done.err


@pytest.mark.parametrize("path", OF_A_STATE, ids=" ".join)
def test_B5_a_state_that_cannot_be_used_is_a_document_too(path: tuple[str, ...], team: Path) -> None:
    (team / "state").write_text("a file where a directory belongs")
    done = at_four(team, *called(path, "--json"))
    document = error_of(done)
    assert done.code in (4, 73), done.err
    assert str(team / "state") in document["message"]
    assert document["message"].splitlines()[0] in done.err
    assert document["advice"]


@pytest.mark.parametrize(
    "words",
    [("hold",), ("worklist",), ("tasks", "--limit"), ("log", "--limit", "many"), ("nonsense",), ("rounds", "extend")],
    ids=" ".join,
)
def test_whatever_the_parser_refuses_is_told(words: tuple[str, ...], team: Path) -> None:
    done = at_four(team, *words, "--json")
    assert error_of(done)["message"] in " ".join(done.err.split())
    assert done.code == 2


def test_without_json_nothing_of_it_stands_on_stdout(broken: Path) -> None:
    done = at_four(broken, "tasks")
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize("words", [("note", "BIZ-28", "--why", "x", "--", "--json"), ("tasks", "--nonsense")])
def test_json_is_wanted_where_the_option_stands_and_not_where_the_word_is_data(
    words: tuple[str, ...], team: Path
) -> None:
    done = at_four(team, *words)
    assert (done.code, done.out) == (2, "")


def test_a_refusal_is_a_document_and_a_verbs_own_stands_alone(team: Path) -> None:
    assert error_of(at_four(team, "hold", "BIZ-99", "--end", "--json"))["exit_code"] == 2
    done = at_four(team, "start", "BIZ-28", "--as", "architect", "--json")
    assert (done.code, done.json["schema"]) == (1, "heartbeat.verb/1")


def test_a_follower_gets_one_line(team: Path) -> None:
    done = at_four(team, "log", "--follow", "--json", "--agent", "stranger")
    assert len(done.out.splitlines()) == 1
    assert error_of(done)["exit_code"] == 2


def test_a_bug_is_told_to_programs_too(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("heartbeat.cli.session.Session.store", broken)
    document = error_of(at_four(team, "incidents", "--json"))
    assert (document["exit_code"], document["message"]) == (70, "a bug: ZeroDivisionError: of all things")
    assert "--debug" in document["advice"]


@pytest.fixture
def whole() -> Iterator[None]:
    """The state of the process's one document, given back as it was."""
    yield
    printed.begin()


@pytest.mark.usefixtures("whole")
def test_after_a_document_no_second_one_is_printed(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object, **__: object) -> None:
        raise StateError("the disk went away", advice="look")

    monkeypatch.setattr("heartbeat.cli.rounds.finish", late)
    done = at_four(team, "rounds", "--json")
    assert (done.code, json.loads(done.out)["schema"]) == (Exit.STATE, "heartbeat.rounds/1")
    assert "the disk went away" in done.err


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/srv/my team/agents.yaml:3:1: unknown key", ("/srv/my team/agents.yaml", 3, 1, "unknown key")),
        ("scenario.yaml:7: no such task", ("scenario.yaml", 7, None, "no such task")),
    ],
)
def test_a_line_that_names_a_place_is_a_finding(text: str, place: tuple[object, ...]) -> None:
    [found] = failure._findings(StateError(f"two things:\n{text}\nat 12:30: a time is no place"))
    assert tuple(found.values()) == place


def test_the_error_is_described(broken: Path) -> None:
    section = (Path(__file__).parents[2] / "docs" / "json.md").read_text().split("## `heartbeat.error/1`")[1]
    described = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", section.split("\n## ")[0]))))
    document = error_of(at_four(broken, "tasks", "--json"))
    assert {*document, *(key for each in document["findings"] for key in each)} <= described
