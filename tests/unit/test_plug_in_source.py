"""The plug-in that docs/sources.md shows is installed as it stands there, and beats with the rest."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import RosterError, UsageError
from heartbeat.roster.load import load_roster
from heartbeat.systems.base import Deadline, FailureKind, ReadStatus
from heartbeat.systems.registry import ENTRY_POINT_GROUP, build_source, plug_in_names, source_order
from heartbeat.task import Ref, Status
from tests.support.command import Result, heartbeat

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
MODULE = "heartbeat_tickets"

AGENTS = """\
version: 1
state: state
workspaces: workspaces
operator: {name: Vincent}
agents:
  coo: {class: high_frequency, notify: [self]}
  dev: {class: developer, notify: [operator]}
"""

TICKETS: list[Any] = [
    {"number": 7, "subject": "Refund the broken lamp", "state": "new", "assignee": "coo", "urgent": True},
    {"number": 8, "subject": "Answer the landlord", "state": "working", "assignee": "coo"},
    {"number": 9, "subject": "Ship the second parcel", "state": "solved", "assignee": "dev"},
]


def block(language: str) -> str:
    """The one block of a language on the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@dataclass(frozen=True)
class Desk:
    """A directory with a roster that names the source, and what its tickets are read from."""

    directory: Path

    @property
    def roster(self) -> Path:
        return self.directory / "agents.yaml"

    def tickets(self, records: list[Any]) -> None:
        (self.directory / "tickets.json").write_text(json.dumps({"tickets": records}))

    def run(self, *words: str) -> Result:
        return heartbeat(*words, cwd=self.directory)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Puts the package on the path as an installer would: its module, and the entry points of its pyproject.toml."""

    def installed() -> None:
        project = tomllib.loads(block("toml"))["project"]
        site = tmp_path / "site-packages"
        metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        metadata.mkdir(parents=True)
        name_and_version = f"Name: {project['name']}\nVersion: {project['version']}\n"
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\n{name_and_version}")
        lines = [
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
            for group, points in project["entry-points"].items()
        ]
        (metadata / "entry_points.txt").write_text("".join(lines))
        (site / f"{MODULE}.py").write_text(block("python"))
        monkeypatch.syspath_prepend(site)
        # So that it is taken out again at the end, whether or not it gets imported.
        monkeypatch.setitem(sys.modules, MODULE, None)
        del sys.modules[MODULE]

    return installed


@pytest.fixture
def desk(tmp_path: Path, install: Callable[[], None]) -> Desk:
    install()
    directory = tmp_path / "team"
    for agent in ("coo", "dev"):
        (directory / "workspaces" / agent).mkdir(parents=True)
    (directory / "agents.yaml").write_text(AGENTS + block("yaml"))
    found = Desk(directory)
    found.tickets(TICKETS)
    return found


def test_it_is_found_by_its_entry_point_and_comes_after_the_built_in_sources(desk: Desk) -> None:
    assert tuple(tomllib.loads(block("toml"))["project"]["entry-points"]) == (ENTRY_POINT_GROUP,)
    assert plug_in_names() == ("tickets",)
    roster = load_roster(desk.roster, {}, plug_in_names)
    assert source_order(roster) == ("todo", "tickets")
    assert roster.sources["tickets"] == {"path": "tickets.json", "timeout": 20.0, "required": False}


def test_a_beat_presents_its_items_to_their_owners_and_puts_them_on_record(desk: Desk) -> None:
    done = desk.run("tick", "coo", "--json")
    assert done.code == 0, done.err
    shown = [(task["key"], task["state"], task["priority"]) for task in done.json["tasks"]]
    assert shown == [("tickets:7", "ready", "high"), ("tickets:8", "in_progress", "normal")]
    (receipt,) = desk.run("receipts", "--json").json["receipts"]
    (told,) = [source for source in receipt["sources"] if source["name"] == "tickets"]
    assert (told["status"], told["transport"], told["items"]) == ("complete", "file", 3)
    assert (receipt["buckets"]["presented"], receipt["buckets"]["closed"]) == (2, 1)


def test_M1_its_item_and_an_equal_todo_line_are_one_task(desk: Desk) -> None:
    (desk.directory / "workspaces" / "coo" / "TODO.md").write_text("- [ ] Refund the broken lamp\n")
    tasks = {task["key"]: task for task in desk.run("worklist", "coo", "--json").json["tasks"]}
    (merged,) = [task for task in tasks.values() if len(task["refs"]) == 2]
    assert {ref["source"] for ref in merged["refs"]} == {"todo", "tickets"}
    assert len(tasks) == 2


def test_S6_a_word_that_it_does_not_map_is_shown_and_never_ready(desk: Desk) -> None:
    desk.tickets([{**TICKETS[0], "state": "escalated"}])
    (task,) = desk.run("worklist", "coo", "--json").json["tasks"]
    assert (task["status"], task["state"]) == ("unknown", "unknown")
    assert task["refs"][0]["raw_status"] == "escalated"


def test_S6a_who_is_not_in_the_roster_is_a_person_and_nobody_is_nobody(desk: Desk) -> None:
    desk.tickets([{**TICKETS[0], "assignee": "Wang"}, {**TICKETS[1], "assignee": None}])
    tasks = desk.run("tasks", "--json").json["tasks"]
    assert [(task["owner"], task["owner_kind"]) for task in tasks] == [("Wang", "person"), (None, "nobody")]


def test_S10_a_record_without_a_number_is_rejected_and_kept_and_the_rest_is_read(desk: Desk) -> None:
    desk.tickets([*TICKETS, {"subject": "nameless"}, "no object at all"])
    done = desk.run("tick", "coo", "--json")
    assert done.code == 0, done.err
    assert done.json["buckets"]["rejected"] == 2
    (told,) = [source for source in done.json["sources"] if source["name"] == "tickets"]
    assert (told["status"], told["items"]) == ("partial", 5)
    assert len(done.json["tasks"]) == 2


def test_S10_one_number_twice_is_told_and_loses_nothing(desk: Desk) -> None:
    desk.tickets([*TICKETS, {**TICKETS[0], "subject": "the same number"}])
    done = desk.run("tick", "coo", "--json")
    assert done.code == 0, done.err
    (told,) = [source for source in done.json["sources"] if source["name"] == "tickets"]
    assert [(finding["code"], finding["refs"]) for finding in told["findings"]] == [("repeated-record", ["tickets:7"])]


@pytest.mark.parametrize("content", ["{", "[]", '{"tickets"', "{}", "null", '{"tickets": null}'])
def test_S2_what_it_cannot_read_is_a_failure_that_stops_nobody(desk: Desk, content: str) -> None:
    assert desk.run("tick", "coo").code == 0
    (desk.directory / "tickets.json").write_text(content)
    done = desk.run("tick", "coo", "--json")
    assert done.code == 0, done.err
    (told,) = [source for source in done.json["sources"] if source["name"] == "tickets"]
    assert (told["status"], told["kind"]) == ("failed", "bad_output")
    assert done.json["degraded"] is True
    assert {task["key"]: task["state"] for task in done.json["tasks"]} == {
        "tickets:7": "unknown",
        "tickets:8": "unknown",
    }


def test_S1a_a_file_that_never_was_is_no_failure_unless_it_is_required(desk: Desk) -> None:
    (desk.directory / "tickets.json").unlink()
    roster = load_roster(desk.roster, {}, plug_in_names)
    optional = build_source("tickets", roster, {}).read(Deadline.after(5), NOW)
    assert optional.report.status is ReadStatus.DISABLED
    desk.roster.write_text(AGENTS + block("yaml").replace("20s", "20s, required: true"))
    roster = load_roster(desk.roster, {}, plug_in_names)
    required = build_source("tickets", roster, {}).read(Deadline.after(5), NOW)
    assert (required.report.status, required.report.kind) == (ReadStatus.FAILED, FailureKind.NOT_CONFIGURED)


def test_its_times_and_status_words_are_translated_as_shown(desk: Desk) -> None:
    desk.tickets([{**TICKETS[2], "opened": "2026-11-20T09:00:00+08:00"}])
    roster = load_roster(desk.roster, {}, plug_in_names)
    (item,) = build_source("tickets", roster, {}).read(Deadline.after(5), NOW).items
    assert (item.ref, item.status) == (Ref("tickets", "9"), Status.DONE)
    assert item.created_at == datetime(2026, 11, 20, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "key", ["token", "secret", "password", "webhook", "api_key", "support_token", "old_api_key", "Token"]
)
def test_R4_a_secret_is_known_by_its_name_and_reaches_the_source_as_the_name_of_a_variable(
    desk: Desk, key: str
) -> None:
    def settings(value: str) -> dict[str, Any]:
        given = block("yaml").replace("20s", f"20s, {key}: {value}")
        desk.roster.write_text(AGENTS + given)
        return dict(load_roster(desk.roster, {"TICKETS_TOKEN": "hunter2"}, plug_in_names).sources["tickets"])

    found = settings("'${TICKETS_TOKEN}'")
    assert found[f"{key}_env"] == "TICKETS_TOKEN"
    assert key not in found
    assert "hunter2" not in repr(found)
    with pytest.raises(RosterError) as refused:
        settings("hunter2")
    assert "a secret must not stand in the roster" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("key", ["tokens", "apikey", "secretary", "token_file"])
def test_R4_a_setting_whose_name_only_resembles_a_secret_is_an_ordinary_one(desk: Desk, key: str) -> None:
    desk.roster.write_text(AGENTS + block("yaml").replace("20s", f"20s, {key}: 'a ${{WORD}}'"))
    settings = load_roster(desk.roster, {"WORD": "word"}, plug_in_names).sources["tickets"]
    assert settings[key] == "a word"


def test_without_the_package_the_roster_is_wrong_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "agents.yaml"
    path.write_text(AGENTS + block("yaml"))
    done = heartbeat("roster", "check", cwd=tmp_path)
    assert done.code == 2
    assert "sources.tickets: no source of this name is installed" in done.err
    roster = load_roster(path, {}, lambda: ["tickets"])  # it was there when the roster was read, and has gone since
    with pytest.raises(UsageError, match="'tickets'"):
        build_source("tickets", roster, {})


def test_doctor_tries_it_like_any_other(desk: Desk) -> None:
    checks = desk.run("doctor", "--json").json["checks"]
    (told,) = [check for check in checks if check["area"] == "tickets"]
    assert (told["subject"], told["level"]) == ("file", "ok")
    assert told["message"].startswith("3 items")
