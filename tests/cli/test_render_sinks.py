"""`heartbeat render --sink`: the scratch of OpenClaw's monitors, and a turn's prompt, as a user sees them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heartbeat.sinks.scratch import ScratchResult, plan_scratch
from tests.cli.test_json_documents import keys, names
from tests.support.command import Result, heartbeat, tree
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway, Trouble
from tests.support.fake_openclaw import FakeOpenClaw
from tests.support.fake_scratch import FakeScratches, plug_in
from tests.support.openclaw_cases import NOW_MS

AGENTS = ("coo", "architect", "writer")
"""The first two have a monitor."""
ROSTER = """version: 1
timezone: UTC
state: state
workspaces: workspaces
sources:
  workboard: {transport: TRANSPORT}
agents:
  coo: {class: high_frequency, notify: [self]}
  architect: {class: developer, notify: [coo]}
  writer: {class: business, notify: [coo]}
"""
TELLS = "每次心跳：运行 `heartbeat worklist`，然后照 HEARTBEAT.md 做。\n"
NO_PROGRAMS = "/nonexistent"


@dataclass
class House:
    """A team of three, on a Gateway that can be asked over its WebSocket and in no other way."""

    folder: Path
    gateway: FakeGateway
    scratches: FakeScratches
    told: dict[str, str]

    def render(self, *words: str) -> Result:
        return self.command("render", *words)

    def command(self, *words: str) -> Result:
        return heartbeat(*words, cwd=self.folder, **self.told)

    def content(self, agent: str) -> str | None:
        identifier = self.gateway.automations.named(f"heartbeat:{agent}")["id"]
        scratch = self.scratches.get({"id": identifier})["scratch"]
        return None if scratch is None else str(scratch["content"])

    def put(self, agent: str, content: str) -> None:
        identifier = self.gateway.automations.named(f"heartbeat:{agent}")["id"]
        self.scratches.set({"id": identifier, "content": content})

    def workspace(self, agent: str) -> Path:
        return self.folder / "workspaces" / agent

    def roster(self, old: str, new: str) -> None:
        path = self.folder / "agents.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def take_file(self, agent: str) -> Path:
        """What `openclaw doctor --fix` does; the copy."""
        path = self.workspace(agent) / "HEARTBEAT.md"
        text = path.read_text()
        folder = self.folder / ".openclaw" / "backups" / "heartbeat-migration"
        folder.mkdir(parents=True, exist_ok=True)
        copy = folder / f"{agent}-{sha256(text.encode()).hexdigest()}.md"
        copy.write_text(text)
        path.unlink()
        self.put(agent, text)
        return copy


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "agents.yaml").write_text(ROSTER.replace("TRANSPORT", "auto"))
    for agent in AGENTS:
        (tmp_path / "workspaces" / agent).mkdir(parents=True)
        (tmp_path / "workspaces" / agent / "AGENTS.md").write_text(TELLS)
    with FakeGateway(FakeBoard(SteppingClock(NOW_MS)), agents=AGENTS) as gateway:
        scratches = plug_in(gateway, "coo", "architect")
        yield House(tmp_path, gateway, scratches, {**gateway.environment(), "PATH": NO_PROGRAMS})


def test_the_scratch_is_written_once_and_its_price_is_named(house: House) -> None:
    first = house.render("coo", "architect", "--sink", "scratch")
    assert (first.code, first.err) == (0, "")
    size = len((house.content("coo") or "").encode())
    assert first.out.splitlines()[0] == f"monitor scratch of coo: created, {size} bytes, a model turn every 6h"
    assert house.content("coo") == house.render("coo", "--stdout").out
    again = house.render("coo", "architect", "--sink", "scratch")
    assert again.out.count(": unchanged, ") == 2
    assert house.gateway.writes() == ["cron.scratch.set", "cron.scratch.set"]
    notes = {name: bytes_ for name, bytes_ in tree(house.folder / "state").items() if bytes_ is not None}
    assert notes == {"scratches/architect.json": b'{"revision": 1}\n', "scratches/coo.json": b'{"revision": 1}\n'}
    assert not (house.workspace("coo") / "HEARTBEAT.md").exists()


def test_an_agent_without_a_monitor_stops_nobody(house: House) -> None:
    done = house.render("--all", "--sink", "scratch")
    assert done.code == 73
    assert done.out.count("created") == 2
    assert "OpenClaw keeps no heartbeat monitor for writer" in done.err
    assert "agents.entries.writer.heartbeat" in done.err
    assert "heartbeat: 1 of 3 monitor scratches were not written" in done.err
    check = house.render("writer", "--sink", "scratch", "--check")
    assert (check.code, "agents.entries.writer.heartbeat" in check.out) == (1, True)


def test_check_diff_and_dry_run_say_it_and_write_nothing(house: House) -> None:
    words = ("coo", "--sink", "scratch")
    check, diff, dry = (house.render(*words, option) for option in ("--check", "--diff", "--dry-run"))
    assert (check.code, check.out) == (1, "monitor scratch of coo: missing\n")
    assert "1 of 1 monitor scratches differ" in check.err
    assert (diff.code, diff.err) == (0, "")
    assert diff.out.startswith("--- monitor scratch of coo (as it is)\n+++ monitor scratch of coo (rendered)\n")
    assert (dry.code, dry.out.split(",")[0]) == (0, "monitor scratch of coo: would be created")
    assert house.gateway.writes() == []
    assert house.render(*words).code == 0
    check, diff, dry = (house.render(*words, option) for option in ("--check", "--diff", "--dry-run"))
    assert (check.code, check.out) == (0, "1 monitor scratches are as the roster and the template give them\n")
    assert (diff.code, diff.out) == (0, "")
    assert dry.out.startswith("monitor scratch of coo: unchanged, ")


def test_an_edit_by_the_agent_is_seen_and_left_alone_unless_forced(house: House) -> None:
    house.render("coo", "--sink", "scratch")
    ours = house.content("coo") or ""
    theirs = ours.replace("## 全局规则", "## 我的规则") + "- 看邮箱\n"
    house.put("coo", theirs)
    done = house.render("coo", "architect", "--sink", "scratch")
    assert done.code == 73
    assert "monitor scratch of coo: it was edited inside the heartbeat block, by the agent or by hand" in done.err
    assert "monitor scratch of architect: created" in done.out
    assert house.content("coo") == theirs
    assert house.render("coo", "--sink", "scratch", "--dry-run").code == 73
    assert house.render("coo", "--sink", "scratch", "--check").code == 1
    forced = house.render("coo", "--sink", "scratch", "--force")
    backup = house.folder / "state" / "scratch-backups" / "coo-r2.md"
    assert (forced.code, backup.read_text()) == (0, theirs)
    assert "monitor scratch of coo: replaced (it was edited by hand inside the block)" in forced.out
    assert f"the old text is {backup}" in forced.out
    assert house.content("coo") == ours + "- 看邮箱\n"


def test_B7_a_scratch_that_the_agent_rewrote_without_our_markers_is_seen_by_everybody_who_looks(house: House) -> None:
    house.render("--all")
    house.render("coo", "architect", "--sink", "scratch")
    assert house.render("--all", "--check").code == 0
    house.put("coo", "- I have finished everything\n")
    check = house.render("--all", "--check")
    assert check.code == 1
    path = house.folder / "state" / "scratches" / "coo.json"
    mend = "`heartbeat --roster " + str(house.folder / "agents.yaml") + " render coo --sink scratch --force`"
    assert check.out.startswith("monitor scratch of coo: heartbeat wrote it, and it was rewritten without our block")
    assert check.out.rstrip().endswith(
        f"— {mend} (the old text is kept in the state directory); or, if it is meant so, delete {path}"
    )
    found = [each for each in house.command("doctor", "--json").json["checks"] if each["area"] == "coo"]
    remark = next(each for each in found if each["subject"] == "monitor scratch")
    assert remark["level"] == "warning"
    assert house.render("coo", "--sink", "scratch").code == 73, "what it wrote may be wanted"
    assert house.render("coo", "--sink", "scratch", "--force").code == 0
    assert house.render("--all", "--check").code == 0
    house.put("coo", "- mine now\n")
    path.unlink()
    assert house.render("--all", "--check").code == 0


def test_B7_a_team_that_is_served_by_scratches_alone_is_not_sent_to_files_that_nobody_reads(house: House) -> None:
    for agent in AGENTS:
        (house.workspace(agent) / "AGENTS.md").unlink()
    house.render("coo", "--sink", "scratch")
    house.put("coo", "- I have finished everything\n")
    found = [each for each in house.command("doctor", "--json").json["checks"] if each["area"] == "coo"]
    assert [each["subject"] for each in found if each["level"] == "warning"] == ["monitor scratch"]


def test_B7_a_note_that_cannot_be_kept_is_a_warning_for_the_scratch_is_written(house: House) -> None:
    (house.folder / "state").write_text("not a directory")
    done = house.render("coo", "--sink", "scratch")
    assert (done.code, done.out.split(",")[0]) == (0, "monitor scratch of coo: created")
    assert "monitor scratch of coo: that heartbeat wrote it cannot be noted in " in done.err
    assert house.content("coo") is not None


def test_B7_a_note_that_is_spoilt_counts_as_none_and_is_mended_by_the_next_render(house: House) -> None:
    house.render("coo", "--sink", "scratch")
    path = house.folder / "state" / "scratches" / "coo.json"
    for spoilt in ("", "[]", "{}", '{"revision": null}', "\x00"):
        path.write_text(spoilt)
        assert house.render("--all", "--sink", "scratch", "--check").code == 1, "architect and writer have none"
        assert house.render("coo", "--sink", "scratch").out.startswith("monitor scratch of coo: unchanged")
        assert path.read_text() == '{"revision": 1}\n'


def test_both_sinks_in_one_call(house: House) -> None:
    done = house.render("coo", "--sink", "file", "--sink", "scratch")
    assert done.code == 0
    path = house.workspace("coo") / "HEARTBEAT.md"
    assert path.read_text() == house.content("coo")
    assert [line.split(":")[0] for line in done.out.splitlines()] == [str(path), "monitor scratch of coo"]
    check = house.render("coo", "--sink", "file", "--sink", "scratch", "--check")
    assert (check.code, check.out) == (0, "2 texts are as the roster and the template give them\n")


def test_a_prompt_is_the_text_without_markers_and_asks_nobody(house: House) -> None:
    block = house.render("coo", "--stdout").out
    done = house.render("coo", "--sink", "prompt")
    assert (done.code, done.err) == (0, "")
    assert done.out == "\n".join(block.split("\n")[1:-2]) + "\n"
    assert "<!--" not in done.out
    document = house.render("coo", "--sink", "prompt", "--json").json
    assert document["results"] == [{"agent": "coo", "sink": "prompt", "text": done.out, "size": len(done.out.encode())}]
    assert house.gateway.greetings == []


@pytest.mark.parametrize(
    "words",
    [
        ("--all", "--sink", "prompt"),
        ("coo", "--sink", "prompt", "--sink", "file"),
        ("coo", "--sink", "prompt", "--check"),
        ("coo", "--sink", "prompt", "--dry-run"),
        ("coo", "--sink", "prompt", "--force"),
        ("coo", "--sink", "prompt", "--out", "there"),
        ("coo", "--sink", "scratch", "--out", "there"),
        ("coo", "--sink", "scratch", "--stdout"),
        ("coo", "--stdout", "--json"),
        ("coo", "--stdout", "--dry-run"),
        ("coo", "--sink", "pigeon"),
        ("--sink", "scratch"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anybody_is_asked(house: House, words: tuple[str, ...]) -> None:
    before = tree(house.folder)
    assert house.render(*words).code == 2
    assert house.gateway.greetings == []
    assert tree(house.folder) == before


def test_B7_a_template_that_says_nothing_is_refused_before_anybody_is_asked(house: House) -> None:
    (house.folder / "empty.j2").write_text("# {{ agent.name }}\n\n<!-- nothing -->\n")
    done = house.render("coo", "--sink", "scratch", "--template", "empty.j2")
    assert done.code == 2
    assert "nothing to act on" in done.err
    assert house.gateway.calls == []


def test_a_gateway_that_is_down_keeps_no_file_from_being_written_and_is_told_once(house: House) -> None:
    house.gateway.stop()
    both = ("--all", "--sink", "file", "--sink", "scratch")
    done = house.render(*both)
    assert done.code == 73
    assert done.out.count("HEARTBEAT.md: created") == 3
    assert done.err.count("the monitor scratches could not be read: nothing answers at ws://") == 1
    assert "3 of 6 texts were not written" in done.err
    assert house.render(*both, "--dry-run").code == 3
    check = house.render(*both, "--check")
    assert (check.code, check.out) == (3, "")
    assert "3 of 6 texts could not be looked at" in check.err
    assert house.render("coo", "--sink", "scratch", "--diff").code == 3


def test_where_there_is_no_openclaw_the_refusal_says_what_was_sought(house: House) -> None:
    house.told = {"PATH": NO_PROGRAMS}
    done = house.render("coo", "--sink", "scratch")
    assert done.code == 73
    assert "no Gateway is configured" in done.err
    assert "no program openclaw on the PATH" in done.err


def test_an_openclaw_that_keeps_no_scratches_is_named_with_the_sink_that_it_reads(house: House) -> None:
    house.gateway.version = "2026.7.31"
    done = house.render("coo", "--sink", "scratch")
    assert done.code == 73
    assert "OpenClaw 2026.7.31 keeps none: they came with 2026.8" in done.err
    assert "use --sink file" in done.err
    assert [call.method for call in house.gateway.calls] == []


def test_an_answer_that_makes_no_sense_is_no_empty_scratch(house: House) -> None:
    house.render("coo", "--sink", "scratch")
    kept = house.content("coo")
    house.scratches.get = lambda params: {"scratch": "all", "currentRevision": 1}  # type: ignore[method-assign]
    house.scratches.__post_init__()
    done = house.render("coo", "--sink", "scratch", "--force")
    assert done.code == 73
    assert "the Gateway answered cron.scratch.get with something else" in done.err
    del house.scratches.get
    assert house.content("coo") == kept


def test_a_gateway_that_never_answers_is_no_empty_scratch(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heartbeat.cli.render.PATIENCE", 0.5)
    monkeypatch.setattr("heartbeat.cli.render.AGENT_PATIENCE", 0.0)
    house.gateway.trouble = Trouble.SILENT
    done = house.render("coo", "--sink", "scratch", "--check")
    assert (done.code, done.out) == (3, "")
    assert "did not answer cron.list in time" in done.err


def test_what_there_is_no_time_for_is_not_known(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.render("coo", "architect", "--sink", "scratch")
    jump = [0.0]

    def plan_once(*arguments: Any, **options: Any) -> ScratchResult:
        jump[0] = 3600.0
        return plan_scratch(*arguments, **options)

    monkeypatch.setattr("heartbeat.sinks.visit.plan_scratch", plan_once)
    monkeypatch.setattr("heartbeat.deadline.time", SimpleNamespace(monotonic=lambda: time.monotonic() + jump[0]))
    done = house.render("coo", "architect", "--sink", "scratch", "--check")
    assert (done.code, done.out) == (3, "")
    assert "no time was left to read every monitor scratch" in done.err
    assert "1 of 2 monitor scratches could not be looked at" in done.err


def test_nothing_is_replaced_where_the_old_text_cannot_be_kept(house: House) -> None:
    house.put("coo", "mine")
    (house.folder / "state").write_text("in the way")
    done = house.render("coo", "--sink", "scratch", "--force")
    assert done.code == 73
    assert "the old monitor scratch of coo cannot be kept: " in done.err
    assert "nothing was replaced" in done.err
    assert house.content("coo") == "mine"


def test_over_the_command_line_it_is_the_same(house: House, tmp_path: Path) -> None:
    program = FakeOpenClaw(tmp_path)
    house.told = program.environment(house.folder)
    with program.connected(house.gateway):
        assert house.render("coo", "--sink", "scratch").code == 0
        assert house.content("coo") == house.render("coo", "--stdout").out
        assert house.render("coo", "--sink", "scratch", "--check").code == 0


# What `--check` and the doctor say of whether the texts reach their agents


def test_check_of_the_files_sees_a_scratch_that_says_something_else(house: House) -> None:
    assert house.render("--all").code == 0
    assert house.render("coo", "--sink", "scratch").code == 0
    assert house.render("--all", "--check").code == 0
    house.roster("high_frequency, notify: [self]", "high_frequency, max_rounds: 9, notify: [self]")
    assert house.render("--all").code == 0
    done = house.render("--all", "--check")
    assert done.code == 1
    assert "monitor scratch of coo: HEARTBEAT.md and the scratch say different things" in done.out
    assert "render coo --sink scratch`" in done.out
    assert house.gateway.writes() == ["cron.scratch.set"]
    assert house.render("coo", "--sink", "scratch").code == 0
    assert house.render("--all", "--check").code == 0


def test_check_says_which_files_nobody_reads(house: House) -> None:
    (house.workspace("writer") / "AGENTS.md").unlink()
    house.render("--all")
    done = house.render("--all", "--check")
    assert (done.code, done.out) == (0, "3 files are as the roster and the template give them\n")
    assert "HEARTBEAT.md of writer: OpenClaw 2026.9.6 does not read it by itself" in done.err
    house.gateway.version = "2026.7.31"
    assert house.render("--all", "--check").err.count("writer") == 0


def test_check_says_where_a_file_went_that_openclaw_took(house: House) -> None:
    house.render("--all")
    copy = house.take_file("coo")
    done = house.render("--all", "--check")
    assert done.code == 1
    assert "`openclaw doctor --fix` took it away" in done.out
    assert str(copy) in done.out
    assert "1 of 3 files differ" in done.err


def test_check_of_the_files_goes_on_without_a_gateway_and_says_so(house: House) -> None:
    house.render("--all")
    house.gateway.stop()
    done = house.render("--all", "--check")
    assert done.code == 0
    assert "whether OpenClaw has another text is not known" in done.err
    house.told = {"PATH": NO_PROGRAMS}
    assert (house.render("--all", "--check").code, house.render("--all", "--check").err) == (0, "")


@pytest.mark.parametrize("words", [("--all", "--check"), ("--all", "--check", "--out", "there")])
def test_check_looks_for_no_gateway_where_none_is_meant(house: House, words: tuple[str, ...]) -> None:
    if "--out" not in words:
        house.roster("transport: auto", "transport: file, path: cards.json")
    house.render(*words)
    assert house.gateway.greetings == []


def test_the_doctor_says_what_openclaw_reads_and_what_it_costs(house: House) -> None:
    house.render("--all")
    house.render("coo", "architect", "--sink", "scratch")
    checks = checks_of(house)
    (reads,) = [check for check in checks if check["area"] == "openclaw"]
    assert reads["level"] == "ok"
    assert reads["message"] == (
        "2026.9.6 reads the scratch of each agent's monitor (coo: a model turn every 6h, architect: a model turn every "
        "6h), and HEARTBEAT.md only where AGENTS.md says so"
    )
    assert [check for check in checks if check["subject"] in ("HEARTBEAT.md", "monitor scratch")] == []
    house.gateway.version = "2026.7.31"
    (reads,) = [check for check in checks_of(house) if check["area"] == "openclaw"]
    assert reads["message"] == "2026.7.31 reads HEARTBEAT.md of each workspace"


def test_the_doctor_recognises_a_file_that_openclaw_took(house: House) -> None:
    house.render("--all")
    copy = house.take_file("coo")
    (found,) = [check for check in checks_of(house) if check["area"] == "coo" and check["subject"] == "HEARTBEAT.md"]
    assert found["level"] == "warning", "AGENTS.md names the file"
    assert str(copy) in found["message"]
    assert "render coo --sink scratch`" in found["advice"]
    (house.workspace("coo") / "AGENTS.md").write_text("# 规则\n")
    (found,) = [check for check in checks_of(house) if check["area"] == "coo" and check["subject"] == "HEARTBEAT.md"]
    assert found["level"] == "note"
    assert "is up to date" in found["message"]


def test_the_doctor_sees_older_and_edited_scratches(house: House) -> None:
    house.render("--all", "--sink", "file")
    house.render("coo", "architect", "--sink", "scratch")
    house.put("architect", (house.content("architect") or "").replace("## 全局规则", "## 我的规则"))
    house.roster("high_frequency, notify: [self]", "high_frequency, max_rounds: 9, notify: [self]")
    house.render("coo")
    found = {check["area"]: check for check in checks_of(house) if check["subject"] == "monitor scratch"}
    assert set(found) == {"coo", "architect"}
    assert "the scratch is out of date" in found["coo"]["message"]
    assert "the scratch is edited by hand" in found["architect"]["message"]
    assert "--force" in found["architect"]["advice"]
    assert house.gateway.writes() == ["cron.scratch.set", "cron.scratch.set"]


def test_the_doctor_goes_on_where_the_scratches_cannot_be_read(house: House) -> None:
    house.render("--all")
    del house.gateway.automations.methods["cron.list"]
    (house.workspace("writer") / "AGENTS.md").unlink()
    checks = checks_of(house)
    levels = [(check["level"], check["message"]) for check in checks if check["area"] == "openclaw"]
    assert [level for level, _ in levels] == ["ok", "note"]
    assert "the monitor scratches could not be read: " in levels[1][1]
    assert "unknown method: cron.list" in levels[1][1]
    assert "writer" in {check["area"] for check in checks}, "what is known of the files is told all the same"


def checks_of(house: House) -> list[dict[str, Any]]:
    done = house.command("doctor", "--json")
    checks: list[dict[str, Any]] = done.json["checks"]
    return checks


def test_the_document_says_the_same(house: House) -> None:
    house.put("architect", "mine")
    document = house.render("--all", "--sink", "scratch", "--json").json
    assert (document["schema"], document["doing"], document["exit_code"]) == ("heartbeat.render/1", "write", 73)
    assert document["openclaw"] == {"version": "2026.9.6", "reads": "scratch"}
    rows = {row["agent"]: row for row in document["results"]}
    assert (rows["coo"]["state"], rows["coo"]["changed"], rows["coo"]["problem"]) == ("created", True, "")
    assert rows["coo"]["monitor"]["poll_seconds"] == 21600
    assert (rows["architect"]["state"], rows["architect"]["changed"]) == ("foreign", False)
    assert rows["architect"]["advice"].startswith("move what is worth keeping")
    assert (rows["writer"]["state"], rows["writer"]["monitor"]) == ("unwritable", None)
    check = house.render("--all", "--check", "--diff", "--json")
    assert check.code == check.json["exit_code"] == 1
    assert all(row["diff"].startswith("--- ") for row in check.json["results"])
    assert {row["sink"] for row in check.json["results"]} == {"file"}
    assert json.loads(check.out)["remarks"]
    assert set(keys([document, check.json])) <= names("heartbeat.render/1") | {"schema"}
