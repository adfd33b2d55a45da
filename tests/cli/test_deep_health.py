"""`heartbeat health --deep`: do the agents still read what was rendered? Without it nobody is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from heartbeat import deep
from tests.cli.test_json_documents import keys, names
from tests.support.command import Result, heartbeat, tree
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway, Trouble
from tests.support.fake_scratch import FakeScratches, plug_in
from tests.support.openclaw_cases import NOW_MS

ROSTER = """version: 1
timezone: UTC
state: state
workspaces: workspaces
sources: {workboard: {}}
agents:
  coo: {class: high_frequency, notify: [self]}
  writer: {class: business, notify: [coo]}
"""
TELLS = "每次心跳：运行 `heartbeat worklist`，然后照 HEARTBEAT.md 做。\n"


@dataclass
class House:
    """A team of two that beat and was rendered, the coo with a monitor."""

    folder: Path
    gateway: FakeGateway
    scratches: FakeScratches

    def command(self, *words: str) -> Result:
        return heartbeat(*words, cwd=self.folder, **self.gateway.environment(), PATH="/nonexistent")

    def deep(self, *words: str) -> Result:
        return self.command("health", "--deep", "--json", *words)

    def put(self, content: str) -> None:
        identifier = self.gateway.automations.named("heartbeat:coo")["id"]
        self.scratches.set({"id": identifier, "content": content})


def rows(done: Result) -> list[tuple[str, str]]:
    return [(row["name"], row["level"]) for row in done.json["deep"]["rows"]]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "agents.yaml").write_text(ROSTER)
    for agent in ("coo", "writer"):
        (tmp_path / "workspaces" / agent).mkdir(parents=True)
        (tmp_path / "workspaces" / agent / "AGENTS.md").write_text(TELLS)
    with FakeGateway(FakeBoard(SteppingClock(NOW_MS)), agents=("coo", "writer")) as gateway:
        house = House(tmp_path, gateway, plug_in(gateway, "coo"))
        assert house.command("tick", "--all").code == 0
        assert house.command("render", "--all").code == 0
        assert house.command("render", "coo", "--sink", "scratch").code == 0
        yield house


def test_what_stands_as_it_was_rendered_is_one_row_and_nothing_is_written(house: House) -> None:
    before = tree(house.folder)
    done = house.deep()
    assert (done.code, done.err) == (0, "")
    assert rows(done) == [("instructions", "ok")]
    assert done.json["deep"]["version"] == "2026.9.6"
    assert house.gateway.writes() == ["cron.scratch.set"], "that of the rendering"
    assert tree(house.folder) == before
    assert "what there is for all 2 agents to read is as the roster" in house.command("health", "--deep").out


def test_a_scratch_that_was_rewritten_is_a_failure_of_health(house: House) -> None:
    house.put("- I have finished everything\n")
    done = house.deep()
    assert done.code == done.json["exit_code"] == 1
    assert rows(done) == [("instructions coo", "failed")]
    assert done.json["verdict"].endswith("; failed: instructions coo")
    assert "--sink scratch --force" in done.json["deep"]["rows"][0]["advice"]
    assert house.deep("writer").code == 0, "it is none of the writer's"
    assert house.command("health").code == 0, "nobody was asked"


def test_file_and_scratch_that_say_different_things_are_a_failure(house: House) -> None:
    roster = house.folder / "agents.yaml"
    roster.write_text(roster.read_text().replace("class: high_frequency", "every: 15m, class: high_frequency"))
    house.command("render", "--all")
    assert rows(house.deep()) == [("instructions coo", "failed")]


def test_a_file_that_is_out_of_date_alone_is_a_warning(house: House) -> None:
    (house.folder / "workspaces" / "writer" / "HEARTBEAT.md").unlink()
    done = house.deep()
    assert (done.code, rows(done)) == (0, [("instructions writer", "warning")])


def test_a_gateway_that_is_down_is_not_known_and_no_failure(house: House) -> None:
    house.gateway.stop()
    done = house.deep()
    assert (done.code, rows(done)) == (0, [("instructions", "warning")])
    assert done.json["deep"]["rows"][0]["message"].startswith("not known: the monitor scratches could not be read")


def test_a_gateway_that_does_not_answer_holds_nobody_longer_than_that(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "SECONDS", 1.0)
    house.gateway.trouble = Trouble.SILENT
    done = house.deep()
    assert (done.code, rows(done)) == (0, [("instructions", "warning")])


def test_a_template_that_is_wrong_is_a_failure(house: House) -> None:
    (house.folder / "mine.j2").write_text("{{ agnt.id }}\n")
    roster = house.folder / "agents.yaml"
    roster.write_text(roster.read_text().replace("timezone: UTC", "timezone: UTC\ntemplate: mine.j2"))
    done = house.deep()
    assert (done.code, rows(done)) == (1, [("instructions", "failed")])


def test_a_team_that_has_no_openclaw_is_compared_all_the_same(team: Path) -> None:
    assert heartbeat("tick", "--all", cwd=team).code == 0
    assert heartbeat("render", "--all", cwd=team).code == 0
    done = heartbeat("health", "--deep", "--json", cwd=team)
    assert (done.json["deep"]["version"], rows(done)) == (None, [("instructions", "ok")])
    (team / "workspaces" / "coo" / "HEARTBEAT.md").unlink()
    done = heartbeat("health", "--deep", "--json", cwd=team)
    assert rows(done) == [("instructions coo", "warning")]


def test_the_json_has_what_its_page_says(house: House) -> None:
    assert house.command("health", "--json").json["deep"] is None
    house.put("- mine\n")
    document = house.deep().json
    assert set(document["deep"]) == {"version", "rows"}
    assert set(keys(document)) <= names("heartbeat.health/1") | {"schema"}


SCRIPT = """
import json, socket, sys
def refuse(*arguments):
    raise AssertionError("a socket")
socket.socket.connect = socket.socket.connect_ex = refuse
from heartbeat.cli.main import main
sys.argv = ["heartbeat", "health", "--json"]
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps([code or 0, sorted(sys.modules)]))
"""


def test_without_the_word_nobody_is_asked_and_nothing_heavy_is_imported(house: House) -> None:
    house.gateway.stop()
    environment: dict[str, Any] = {"HOME": str(house.folder), "PATH": "/nonexistent", **house.gateway.environment()}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=house.folder, env=environment, capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    heavy = {"websockets", "jinja2", "httpx"}
    assert not {name.split(".")[0] for name in modules} & heavy
    assert not set(modules) & {"heartbeat.deep", "heartbeat.sinks.visit", "heartbeat.render.template"}
