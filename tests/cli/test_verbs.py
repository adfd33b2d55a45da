"""The six verbs from the outside: one task with a card, an issue and a TODO line, over the real transports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Result, heartbeat
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_multica_records import CODEX, REVIEWER
from tests.support.fake_multica_server import WRITES, FakeMultica, answers, resets
from tests.support.fake_multica_state import MulticaState
from tests.support.multica_cases import environment

TITLE = "ACM-1 登录页报错 500"

ROSTER = f"""\
version: 1
timezone: Asia/Shanghai
state: state
workspaces: workspaces
sources:
  workboard: {{transport: gateway}}
  multica: {{transport: api}}
  todo: {{files: [TODO.md]}}
agents:
  coo: {{class: high_frequency, multica_id: {REVIEWER}, notify: [self], patrol: true}}
  architect: {{class: developer, multica_id: {CODEX}}}
"""


@dataclass
class Office:
    """A Gateway, a Multica server and two workspaces. Their clocks are an hour behind ours."""

    folder: Path
    gateway: FakeGateway
    multica: FakeMultica
    card: str
    issue: dict[str, Any]

    def run(self, *words: str) -> Result:
        variables = environment(self.multica, self.folder, **self.gateway.environment())
        return heartbeat(*words, cwd=self.folder, **variables)

    @property
    def board(self) -> FakeBoard:
        return self.gateway.board

    @property
    def todo(self) -> Path:
        return self.folder / "workspaces" / "coo" / "TODO.md"

    def record(self) -> dict[str, Any]:
        card: dict[str, Any] = self.board.call("cards.runs", {"id": self.card})["card"]
        return card

    def statuses(self) -> tuple[str, str, str]:
        line = next(line for line in self.todo.read_text().splitlines() if TITLE in line)
        return self.record()["status"], self.multica.state.issues[self.issue["id"]]["status"], line[2:5]

    def comments(self) -> list[str]:
        return [each["body"] for each in self.record().get("metadata", {}).get("comments", ())]

    def notes(self) -> list[str]:
        return [
            each["content"] for each in self.multica.state.comments.values() if each["issue_id"] == self.issue["id"]
        ]

    def new_card(self, title: str, **fields: Any) -> str:
        identifier: str = self.board.create(title, **fields)["id"]
        return identifier


@contextmanager
def opened(folder: Path) -> Iterator[Office]:
    earlier = datetime.now(UTC) - timedelta(hours=1)
    (folder / "agents.yaml").write_text(ROSTER)
    for agent in ("coo", "architect"):
        (folder / "workspaces" / agent).mkdir(parents=True)
    (folder / "workspaces" / "coo" / "TODO.md").write_text(f"# 本周\n\n- [ ] {TITLE}\n- [ ] 别的事\n")
    board = FakeBoard(SteppingClock(int(earlier.timestamp() * 1000)))
    state = MulticaState(now=earlier)
    issue = state.add_issue(TITLE, status="todo", assignee_type="agent", assignee_id=REVIEWER)
    card = board.create(TITLE, agentId="coo")["id"]
    with FakeGateway(board) as gateway, FakeMultica(state) as multica:
        yield Office(folder, gateway, multica, card, issue)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path) as found:
        yield found


def test_a_task_of_three_origins_is_taken_and_finished_with_one_command_each(office: Office) -> None:
    assert office.statuses() == ("todo", "todo", "[ ]")
    started = office.run("start", "ACM-1", "--json")
    assert started.code == 0, started.err
    assert office.statuses() == ("running", "in_progress", "[/]")
    claim = office.record()["metadata"]["claim"]
    assert claim["ownerId"] == "coo"
    assert claim["expiresAt"] - claim["claimedAt"] >= 3_600_000
    assert office.multica.state.runs == {}, "starting a task starts no run in Multica"
    document = started.json
    assert (document["schema"], document["verb"], document["agent"], document["ok"]) == (
        "heartbeat.verb/1",
        "start",
        "coo",
        True,
    )
    assert document["task"] == f"workboard:{office.card}"
    assert [(each["operation"], each["state"]) for each in document["results"]] == [("claim", "done")] * 3
    assert [each["key"] for each in document["results"]] == [office.card[:8], "ACM-1", "ACM-1"]
    (office.folder / "workspaces" / "coo" / "fix.patch").write_text("x")
    finished = office.run("done", "ACM-1", "--why", "修好了", "--output", "fix.patch", "--type", "code")
    assert finished.code == 0, finished.err
    assert office.statuses() == ("done", "done", "[x]")
    assert [artifact["path"] for artifact in office.record()["metadata"]["artifacts"]] == ["fix.patch"]
    (comment,), (note,) = office.comments(), office.notes()
    assert comment.startswith("coo：已完成。修好了 [via hb:")
    assert note.startswith("/note coo：已完成。修好了")
    assert "fix.patch" in note
    assert "<!-- heartbeat: coo：已完成。修好了 产出：fix.patch（code） [via hb:" in office.todo.read_text()


def test_what_is_printed_says_what_happened_to_each_record(office: Office) -> None:
    printed = office.run("start", "ACM-1").out.splitlines()
    assert printed[0] == f"coo: start {office.card[:8]} {TITLE}"
    assert [line.split(":")[0] for line in printed[1:]] == [
        f"  workboard {office.card[:8]}",
        "  multica ACM-1",
        "  todo ACM-1",
    ]
    again = office.run("start", "ACM-1")
    assert (again.code, again.out.count("in progress already")) == (0, 3)


def test_a_review_and_its_rejection_and_the_second_attempt(office: Office) -> None:
    office.run("start", "ACM-1")
    assert office.run("review", "ACM-1", "--output", "https://git.test/pull/7").code == 0
    assert office.statuses() == ("review", "in_review", "[/]")
    assert [each["url"] for each in office.record()["metadata"]["artifacts"]] == ["https://git.test/pull/7"]
    rejected = office.run("reject", "ACM-1", "--why", "缺少测试", "--as", "coo")
    assert rejected.code == 0, rejected.err
    assert office.statuses() == ("todo", "todo", "[ ]")
    assert "claim" not in office.record()["metadata"]
    for texts in (office.comments(), office.notes()):
        assert any("coo：退回重做。原因：缺少测试" in text for text in texts)
    assert office.run("start", "ACM-1").code == 0
    assert office.statuses() == ("running", "in_progress", "[/]")


def test_a_note_is_a_sign_of_life_that_wakes_nobody(office: Office) -> None:
    office.run("start", "ACM-1")
    said = office.run("note", "ACM-1", "--why", "还在查")
    assert said.code == 0, said.err
    assert office.statuses() == ("running", "in_progress", "[/]")
    assert (len(office.comments()), len(office.notes())) == (1, 1)
    assert office.multica.state.runs == {}
    assert office.run("note", "ACM-1", "--why", "还在查").out.count("done already") == 3
    assert (len(office.comments()), len(office.notes())) == (1, 1)


def test_a_block_says_why(office: Office) -> None:
    assert office.run("block", "ACM-1", "--why", "等财务").code == 0
    assert office.statuses() == ("blocked", "blocked", "[!]")
    assert all("coo：受阻。原因：等财务" in texts[0] for texts in (office.comments(), office.notes()))


def test_S5_the_worklist_shows_at_once_what_was_done(office: Office) -> None:
    def states() -> dict[str, str]:
        return {task["title"]: task["state"] for task in office.run("worklist", "coo", "--json").json["tasks"]}

    office.run("tick", "coo")
    assert states()[TITLE] == "ready"
    office.run("start", "ACM-1")
    assert states()[TITLE] == "in_progress"


def test_the_agent_comes_from_the_option_else_the_environment_else_the_owner(office: Office) -> None:
    office.new_card("更新部署手册")
    unclear = office.run("start", "更新部署手册")
    assert unclear.code == 2
    assert "belongs to nobody" in unclear.err
    assert "--as AGENT" in unclear.err
    variables = environment(office.multica, office.folder, **office.gateway.environment())
    taken = heartbeat("start", "更新部署手册", "--json", cwd=office.folder, HEARTBEAT_AGENT="architect", **variables)
    assert taken.json["agent"] == "architect"
    wrong = heartbeat("start", "ACM-1", cwd=office.folder, HEARTBEAT_AGENT="zed", **variables)
    assert wrong.code == 2
    assert "HEARTBEAT_AGENT names 'zed'" in wrong.err
    unknown = office.run("start", "ACM-1", "--as", "nobody")
    assert unknown.code == 2
    assert "no agent called 'nobody'" in unknown.err


def test_D4_a_refusal_has_its_reason_and_what_to_do_and_exits_1(office: Office) -> None:
    parent = office.new_card("先做的事", agentId="architect")
    office.new_card("后做的事", agentId="coo", parents=[parent])
    refused = office.run("start", "后做的事", "--json")
    assert refused.code == 1
    assert refused.json["ok"] is False
    assert refused.json["results"] == []
    assert refused.json["refused"] == [line.removeprefix("heartbeat: ") for line in refused.err.splitlines()[:1]]
    assert "waits:" in refused.err
    foreign = office.run("done", "先做的事", "--as", "coo")
    assert foreign.code == 1
    assert "belongs to architect, not to coo" in foreign.err
    assert office.run("done", "ACM-1").code == 1
    assert "is todo, and `done` is for what is in progress or in review" in office.run("done", "ACM-1").err
    assert office.gateway.writes() == []


def test_a_reason_is_asked_for_before_anything_is_read(office: Office) -> None:
    for verb in ("reject", "block", "note"):
        missing = office.run(verb, "ACM-1")
        assert missing.code == 2
        assert "--why" in missing.err
    assert office.run("note", "ACM-1", "--why", " ").code == 2
    assert office.run("start", "ACM-1", "--output", "x").code == 2
    assert office.multica.requests == []


def test_S2_while_a_source_is_down_nothing_is_done_to_its_tasks(office: Office) -> None:
    office.run("tick", "coo")
    office.multica.break_with(answers(503, {"error": "down"}), method="GET")
    down = office.run("start", "ACM-1")
    assert down.code == 1
    assert "multica could not be read completely" in down.err
    assert office.statuses() == ("todo", "todo", "[ ]")


def test_L6_whoever_is_second_finds_the_task_taken(office: Office) -> None:
    shared = office.new_card("谁都可以做的事")
    done = []

    def somebody_else() -> None:
        office.gateway.meanwhile = None
        done.append(office.board.call("cards.claim", {"id": shared, "ownerId": "architect", "ttlSeconds": 7200}))

    office.gateway.meanwhile = somebody_else
    late = office.run("start", "谁都可以做的事", "--as", "coo", "--json")
    assert done
    assert late.code == 1
    assert late.json["results"][0]["state"] == "conflict"
    claim = office.board.call("cards.runs", {"id": shared})["card"]["metadata"]["claim"]
    assert claim["ownerId"] == "architect"
    assert "belongs to architect" in office.run("start", "谁都可以做的事", "--as", "coo").err


@pytest.mark.parametrize("verb", ["start", "done", "review", "block", "note"])
def test_I4_a_lost_answer_of_the_gateway_is_looked_for_and_not_repeated(office: Office, verb: str) -> None:
    if verb != "start":
        office.run("start", "ACM-1")
    why = () if verb == "start" else ("--why", "因为")
    office.gateway.losing = 1
    first = office.run(verb, "ACM-1", *why)
    if first.code:
        assert "the next beat goes on with it, and so does the same command" in first.out
    again = office.run(verb, "ACM-1", *why)
    assert again.code == 0, again.out + again.err
    said = 0 if verb == "start" else 1
    assert (len(office.comments()), len(office.notes())) == (said, said)


@pytest.mark.parametrize("verb", ["start", "done", "review", "block", "note"])
def test_I4_a_lost_answer_of_multica_is_looked_for_and_not_repeated(office: Office, verb: str) -> None:
    if verb != "start":
        office.run("start", "ACM-1")
    why = () if verb == "start" else ("--why", "因为")
    office.multica.break_with(resets, method=WRITES, times=1, after=True)
    first = office.run(verb, "ACM-1", *why, "--json")
    assert [each["state"] for each in first.json["results"]] == ["done", "pending", "done"]
    assert first.code == 1
    again = office.run(verb, "ACM-1", *why, "--json")
    assert again.code == 0, again.out + again.err
    said = 0 if verb == "start" else 1
    assert (len(office.comments()), len(office.notes())) == (said, said)


def test_I4_what_could_not_be_finished_is_told_and_finished_by_the_same_command(office: Office) -> None:
    office.run("start", "ACM-1")
    fault = office.multica.break_with(answers(503, {"error": "down"}), method=WRITES)
    first = office.run("done", "ACM-1")
    assert first.code == 1
    assert "not done yet" in first.out
    assert office.statuses() == ("done", "in_progress", "[x]")
    office.multica.faults.remove(fault)
    assert office.run("done", "ACM-1").code == 0
    assert office.statuses() == ("done", "done", "[x]")


def test_an_agent_that_handed_one_task_in_may_take_the_next(office: Office) -> None:
    office.new_card("下一件事", agentId="coo")
    office.run("start", "ACM-1")
    assert office.run("start", "下一件事").code == 1, "one card at a time"
    assert office.run("review", "ACM-1").code == 0
    taken = office.run("start", "下一件事")
    assert taken.code == 0, taken.out + taken.err


def test_the_log_of_the_store_has_every_verb(office: Office) -> None:
    from heartbeat.store.opening import open_store_read_only

    office.run("start", "ACM-1")
    office.run("done", "ACM-1")
    with open_store_read_only(office.folder / "state") as store:
        logged = [(entry.action, entry.agent) for entry in store.log() if entry.action.startswith("verb-")]
    assert logged == [("verb-start", "coo"), ("verb-done", "coo")]
