"""The Multica source over its transports, against a server and a command that behave as the real ones do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.systems.base import Deadline, FailureKind, Reading, ReadStatus
from heartbeat.systems.multica.cli import TASK_VARIABLES
from heartbeat.systems.multica.source import build
from heartbeat.task import NOBODY, EvidenceKind, Owner, OwnerKind, Status
from tests.contract.suite import NOW
from tests.support import fake_multica_cli
from tests.support.fake_multica_records import CODEX, CORE_SQUAD, TOKEN, WORKSPACE_ID
from tests.support.fake_multica_server import FakeMultica, Request, answers, hangs
from tests.support.fake_multica_state import MulticaState
from tests.support.multica_cases import HTML, ROSTER, environment

PATIENCE = 60.0
BOTH = pytest.mark.parametrize("transport", ["api", "cli"])


@dataclass
class World:
    """A fake server, a fake command on a PATH of its own, and a home directory without configuration."""

    server: FakeMultica
    home: Path
    program: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> MulticaState:
        return self.server.state

    def fill(self, count: int, **fields: Any) -> None:
        for number in range(count):
            # Three of a second share their creation time, as issues made by a script do.
            created = self.state.now - timedelta(days=1) + timedelta(seconds=number // 3)
            self.state.add_issue(f"Issue {number}", created_at=created, **fields)

    def read(self, transport: str, *, seconds: float = PATIENCE, without: str = "", **settings: Any) -> Reading:
        variables = {**environment(self.server, self.home), **self.extra}
        variables.pop(without, None)
        source = build({"transport": transport, **settings}, ROSTER, variables)
        return source.read(Deadline.after(seconds), NOW)

    def calls(self) -> list[dict[str, Any]]:
        return fake_multica_cli.calls(self.program)

    def list_requests(self) -> int:
        return sum(request.startswith("GET /api/issues?") for request in self.server.requests)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeMultica() as server:
        yield World(server, tmp_path, fake_multica_cli.install(tmp_path / "bin"))


def codes(reading: Reading) -> set[str]:
    return {finding.code for finding in reading.report.findings}


@BOTH
@pytest.mark.parametrize("count", [0, 100, 145])
def test_S3_every_issue_comes_however_many_pages_there_are(world: World, transport: str, count: int) -> None:
    world.fill(count)
    reading = world.read(transport)
    assert reading.report.status is ReadStatus.COMPLETE
    assert {item.title for item in reading.items} == {f"Issue {number}" for number in range(count)}


@BOTH
@pytest.mark.parametrize("told", [100, 200])
def test_S3_a_lying_total_is_partial_and_keeps_what_came(world: World, transport: str, told: int) -> None:
    world.fill(145)
    world.state.lying_total = told
    reading = world.read(transport)
    assert reading.report.status is ReadStatus.PARTIAL
    assert reading.report.kind is FailureKind.INCOMPLETE
    assert f"145 rows came and the server counts {told}" in reading.report.message
    assert len(reading.items) == 145


@BOTH
def test_S3_a_repeated_page_is_read_again_once_and_then_partial(world: World, transport: str) -> None:
    world.fill(145)
    world.state.ignores_offset = True
    reading = world.read(transport)
    assert reading.report.status is ReadStatus.PARTIAL
    assert len(reading.items) == 100
    assert world.list_requests() == 4


@BOTH
def test_S3_a_page_shift_is_mended_by_reading_again(world: World, transport: str) -> None:
    world.fill(145)
    first = min(world.state.issues)

    def delete_on_the_second_page(request: Request) -> None:
        if request.path == "/api/issues" and request.query.get("offset") == "99" and first in world.state.issues:
            del world.state.issues[first]

    world.server.before = delete_on_the_second_page
    reading = world.read(transport)
    assert reading.report.status is ReadStatus.COMPLETE
    assert len(reading.items) == 144
    assert len({item.ref for item in reading.items}) == 144


def test_S3_a_deadline_in_the_middle_keeps_what_came(world: World) -> None:
    world.fill(245)

    def hang_from_the_next_page_on(request: Request) -> None:
        if request.query.get("offset") == "99":
            world.server.break_with(hangs)

    world.server.before = hang_from_the_next_page_on
    reading = world.read("api", seconds=2.0)
    assert reading.report.status is ReadStatus.PARTIAL
    assert "199 of 245 rows were read, then: " in reading.report.message
    assert len(reading.items) == 199


@BOTH
def test_S3_a_server_that_fails_in_the_middle_leaves_a_partial_reading(world: World, transport: str) -> None:
    world.fill(145)

    def break_from_now_on(request: Request) -> None:
        if request.path == "/api/issues":
            world.server.break_with(answers(500, {"error": "failed to list issues"}), path="^/api/issues$")

    world.server.before = break_from_now_on
    reading = world.read(transport)
    assert reading.report.status is ReadStatus.PARTIAL
    assert "100 of 145 rows were read" in reading.report.message
    assert "500" in reading.report.message
    assert len(reading.items) == 100


@BOTH
def test_S6_custom_statuses_count_as_their_category(world: World, transport: str) -> None:
    world.state.statuses["qa"] = "blocked"
    world.state.add_issue("In the lab", status="qa")
    world.state.add_issue("Looked at", status="human_review")
    found = {item.title: (item.status, item.raw_status) for item in world.read(transport).items}
    assert found == {"In the lab": (Status.BLOCKED, "qa"), "Looked at": (Status.IN_REVIEW, "human_review")}


@BOTH
def test_an_old_server_without_categories_and_revisions_is_read(world: World, transport: str) -> None:
    world.state.modern = False
    world.state.add_issue("Old", status="in_progress")
    (item,) = world.read(transport).items
    assert item.status is Status.IN_PROGRESS
    assert item.revision == "2026-11-21T03:00:00Z"


def test_S6a_a_squads_issue_belongs_to_its_leader(world: World) -> None:
    world.state.add_issue("Together", assignee_type="squad", assignee_id=CORE_SQUAD)
    reading = world.read("api")
    assert reading.items[0].owner == Owner(OwnerKind.AGENT, "architect")
    assert reading.report.findings == ()


@pytest.mark.parametrize("broken", [answers(500, {"error": "x"}), answers(200, HTML), answers(200, {"squads": []})])
def test_S6a_squads_that_cannot_be_read_leave_the_reading_complete(world: World, broken: Any) -> None:
    world.state.add_issue("Together", assignee_type="squad", assignee_id=CORE_SQUAD)
    world.server.break_with(broken, path="^/api/squads$")
    reading = world.read("api")
    assert reading.report.status is ReadStatus.COMPLETE
    assert reading.items[0].owner == NOBODY
    assert codes(reading) == {"unknown-squads"}


def test_S6a_squads_are_asked_for_only_where_an_issue_has_one(world: World) -> None:
    world.fill(1)
    world.read("api")
    assert "GET /api/squads" not in world.server.requests


def test_T7_active_runs_of_the_workspace_are_evidence(world: World) -> None:
    issue = world.state.add_issue("At work", status="in_progress", assignee_type="agent", assignee_id=CODEX)
    ended = world.state.add_run(issue["id"], CODEX, "completed")
    world.state.pass_time(minutes=20)
    active = world.state.add_run(issue["id"], CODEX)
    reading = world.read("api")
    runs = [evidence.id for evidence in reading.evidence if evidence.kind is EvidenceKind.RUN]
    assert runs == [active["id"]] != [ended["id"]]
    assert reading.items[0].started_at == world.state.now.replace(microsecond=0)


def test_T7_a_server_without_the_snapshot_leaves_runs_unknown_and_says_so(world: World) -> None:
    world.fill(1)
    world.server.break_with(answers(404, b"404 page not found\n", content_type="text/plain"), path="snapshot")
    reading = world.read("api")
    assert reading.report.status is ReadStatus.COMPLETE
    assert codes(reading) == {"unknown-runs"}


def test_S6a_T7_the_command_tells_neither_squads_nor_runs_and_it_is_said(world: World) -> None:
    world.state.add_issue("Together", assignee_type="squad", assignee_id=CORE_SQUAD)
    assert codes(world.read("cli")) == {"unknown-squads", "unknown-runs"}


FAILURES: list[tuple[Any, FailureKind]] = [
    (answers(400, {"error": "invalid workspace_id"}), FailureKind.REFUSED),
    (answers(401, {"error": "invalid token"}, content_type="text/plain"), FailureKind.AUTH),
    (answers(402, {"error": "issue_outside_creation_window", "message": "Not in your plan."}), FailureKind.REFUSED),
    (answers(403, {"error": "forbidden"}), FailureKind.AUTH),
    (answers(404, {"error": "workspace not found"}), FailureKind.NOT_FOUND),
    (answers(409, {"error": "resource changed", "code": "revision_conflict"}), FailureKind.REFUSED),
    (answers(429, {"error": "too many requests"}, Retry_After="3600"), FailureKind.RATE_LIMITED),
    (answers(500, {"error": "failed to list issues"}), FailureKind.SERVER_ERROR),
    (answers(500, HTML), FailureKind.SERVER_ERROR),
    (answers(200, HTML), FailureKind.BAD_OUTPUT),
    (answers(200, b""), FailureKind.BAD_OUTPUT),
]


@BOTH
@pytest.mark.parametrize(("fault", "kind"), FAILURES)
def test_S1_both_transports_name_a_failure_alike(world: World, transport: str, fault: Any, kind: FailureKind) -> None:
    world.fill(1)
    world.server.break_with(fault)
    reading = world.read(transport)
    assert reading.report.status is ReadStatus.FAILED
    assert reading.report.kind is kind
    assert reading.report.advice
    assert TOKEN not in repr(reading)


@pytest.mark.parametrize("value", [{"error": "no issues here"}, {"issues": None, "total": 0}, "text", 7, None])
def test_S1_json_that_holds_no_list_of_issues_is_bad_output(world: World, value: Any) -> None:
    world.server.break_with(answers(200, value))
    assert world.read("api").report.kind is FailureKind.BAD_OUTPUT


@BOTH
def test_S1_a_locale_changes_no_kind(world: World, transport: str) -> None:
    world.extra = {"LC_ALL": "zh_CN.UTF-8", "LANG": "zh_CN.UTF-8"}
    world.server.break_with(answers(500, {"error": "x"}))
    assert world.read(transport).report.kind is FailureKind.SERVER_ERROR


@BOTH
def test_a_wrong_token_is_an_auth_failure_that_says_where_the_token_came_from(world: World, transport: str) -> None:
    world.extra = {"TEAM_TOKEN": "mul_of_somebody_else"}
    reading = world.read(transport, token_env="TEAM_TOKEN")
    assert reading.report.kind is FailureKind.AUTH
    assert "mul_of_somebody_else" not in repr(reading)
    if transport == "api":
        assert "TEAM_TOKEN" in reading.report.advice


@BOTH
def test_a_token_of_the_roster_goes_before_the_environments_and_never_into_arguments(
    world: World, transport: str
) -> None:
    world.fill(1)
    world.extra = {"TEAM_TOKEN": TOKEN, "MULTICA_TOKEN": "mul_wrong"}
    assert world.read(transport, token_env="TEAM_TOKEN").report.status is ReadStatus.COMPLETE
    assert all(TOKEN not in argument for call in world.calls() for argument in call["argv"])


@BOTH
def test_a_foreign_workspace_is_not_found(world: World, transport: str) -> None:
    reading = world.read(transport, workspace_id="0198f0a0-1111-7000-8000-00000000ffff")
    assert reading.report.kind is FailureKind.NOT_FOUND


@BOTH
def test_without_a_workspace_the_only_one_is_taken(world: World, transport: str) -> None:
    world.fill(1)
    reading = world.read(transport, without="MULTICA_WORKSPACE_ID")
    assert reading.report.status is ReadStatus.COMPLETE
    assert len(reading.items) == 1


@BOTH
def test_of_several_workspaces_none_is_guessed(world: World, transport: str) -> None:
    world.state.add_workspace("0198f0a0-1111-7000-8000-000000000002", "Beta", "beta")
    reading = world.read(transport, without="MULTICA_WORKSPACE_ID")
    assert reading.report.kind is FailureKind.REFUSED
    assert "acme, beta" in reading.report.message
    assert "workspace_id" in reading.report.advice


@BOTH
def test_the_tools_own_configuration_is_enough(world: World, transport: str) -> None:
    world.fill(2)
    configuration = {"server_url": f"{world.server.url}/", "workspace_id": WORKSPACE_ID, "token": TOKEN}
    folder = world.home / ".multica" / "profiles" / "dev"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(configuration), "utf-8")
    variables = {"HOME": str(world.home), "PATH": str(world.home / "bin")}
    source = build({"transport": transport, "profile": "dev"}, ROSTER, variables)
    reading = source.read(Deadline.after(PATIENCE), NOW)
    assert reading.report.status is ReadStatus.COMPLETE
    assert len(reading.items) == 2


def test_S1a_auto_falls_back_to_the_command_and_says_so(world: World) -> None:
    world.fill(3)
    world.server.break_with(answers(401, {"error": "invalid token"}), times=1)
    reading = world.read("auto")
    assert reading.report.transport == "cli"
    assert reading.report.status is ReadStatus.COMPLETE
    assert "fell back to cli (api: " in reading.report.message
    assert len(reading.items) == 3


def test_a_rate_limit_that_passes_is_waited_for(world: World) -> None:
    world.fill(1)
    world.server.break_with(answers(429, {"error": "too many requests"}, Retry_After="0"), times=1)
    assert world.read("api").report.status is ReadStatus.COMPLETE


@pytest.mark.parametrize("name", sorted(TASK_VARIABLES))
def test_the_variables_of_an_agents_run_do_not_reach_the_command(world: World, name: str) -> None:
    world.fill(1)
    world.extra = {name: "0198f0a0-9999-7000-8000-000000000001"}
    assert world.read("cli").report.status is ReadStatus.COMPLETE
    assert all(name not in call["environment"] for call in world.calls())


def test_the_directory_of_an_agents_run_does_not_trap_the_command(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake is caught in such a directory, as the real command is; the transport runs it elsewhere."""
    world.fill(1)
    trap = tmp_path / "workdir" / ".multica"
    trap.mkdir(parents=True)
    (trap / "daemon_task_context.json").write_text('{"managed_by":"multica-daemon-task"}', "utf-8")
    inside = tmp_path / "workdir" / "deep"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert world.read("cli").report.status is ReadStatus.COMPLETE
    assert {call["cwd"] for call in world.calls()} == {"/"}


def test_what_the_roster_sets_goes_to_the_command_as_flags_and_what_it_does_not_set_does_not(world: World) -> None:
    world.read("cli")
    assert not {"--server-url", "--workspace-id", "--profile"} & set(world.calls()[-1]["argv"])
    world.read("cli", server_url=world.server.url, workspace_id=WORKSPACE_ID)
    argv = world.calls()[-1]["argv"]
    assert argv[argv.index("--server-url") + 1] == world.server.url
    assert argv[argv.index("--workspace-id") + 1] == WORKSPACE_ID


def test_the_command_is_asked_in_creation_order_with_full_ids_and_in_debug_mode(world: World) -> None:
    world.read("cli")
    call = world.calls()[0]
    asked = "issue list --limit 100 --offset 0 --sort created_at --direction asc --full-id --output json"
    assert " ".join(call["argv"]) == asked
    assert call["environment"]["MULTICA_DEBUG"] == "1"
    assert call["environment"]["LC_ALL"] == "C.UTF-8"


@pytest.mark.parametrize("lacks", [["--full-id"], ["--sort"], ["--direction"], ["--full-id", "--sort", "--direction"]])
def test_an_old_command_is_asked_without_the_flags_that_it_lacks(world: World, lacks: list[str]) -> None:
    world.fill(145)
    fake_multica_cli.behave(world.program, lacks=lacks)
    reading = world.read("cli")
    assert reading.report.status is ReadStatus.COMPLETE
    assert len(reading.items) == 145
    assert "old-multica" in codes(reading)


@pytest.mark.parametrize(("count", "status"), [(99, ReadStatus.COMPLETE), (145, ReadStatus.PARTIAL)])
@pytest.mark.parametrize("behaviour", [{"bare_list": True}, {"lacks": ["--offset"]}])
def test_S3_a_command_without_pages_is_partial_where_its_one_page_is_full(
    world: World, count: int, status: ReadStatus, behaviour: dict[str, Any]
) -> None:
    world.fill(count)
    fake_multica_cli.behave(world.program, **behaviour)
    reading = world.read("cli")
    assert reading.report.status is status
    assert len(reading.items) == min(count, 100)


def test_a_command_that_is_too_old_to_print_json_is_told_by_its_flag(world: World) -> None:
    fake_multica_cli.behave(world.program, lacks=["--output"])
    report = world.read("cli").report
    assert report.kind is FailureKind.REFUSED
    assert "--output" in report.message
    assert "update" in report.advice


@pytest.mark.parametrize("printed", ["", "Usage:\n  multica issue [command]\n", '{"issues": [', "[]]", "7"])
def test_S4_an_output_that_is_not_the_list_is_bad_output_although_the_exit_code_is_0(
    world: World, printed: str
) -> None:
    fake_multica_cli.behave(world.program, prints=printed)
    assert world.read("cli").report.kind is FailureKind.BAD_OUTPUT


def test_S4_a_banner_before_the_json_is_tolerated_and_reported_once(world: World) -> None:
    world.fill(145)
    fake_multica_cli.behave(world.program, banner="A new version of multica is available")
    reading = world.read("cli")
    assert reading.report.status is ReadStatus.COMPLETE
    banners = [finding.message for finding in reading.report.findings if finding.code == "tool-banner"]
    assert len(banners) == 1
    assert "A new version" in banners[0]


def test_a_command_that_is_not_there_is_named(world: World) -> None:
    report = world.read("cli", binary="multica-beta").report
    assert report.status is ReadStatus.FAILED
    assert "multica-beta" in report.message


@BOTH
def test_both_transports_tell_a_version(world: World, transport: str) -> None:
    source = build({"transport": transport}, ROSTER, environment(world.server, world.home))
    (probe,) = source.probe(Deadline.after(PATIENCE))
    assert probe.version == "0.4.32"


Change = Callable[[MulticaState], object]


def test_T2_what_a_change_bumps_shows_in_the_evidence(world: World) -> None:
    """A change has a new revision, and so a new name; setting metadata to what it was is no change."""
    issue = world.state.add_issue("Watched", metadata={"k": 1})

    def evidence_after(change: Change) -> str:
        world.state.pass_time(minutes=1)
        change(world.state)
        (evidence,) = world.read("api").evidence
        return evidence.id

    assert evidence_after(lambda state: None) == "rev:1"
    assert evidence_after(lambda state: state.set_metadata(issue, "k", {"value": 1})) == "rev:1"
    assert evidence_after(lambda state: state.set_metadata(issue, "k", {"value": 2})) == "rev:2"
    assert evidence_after(lambda state: state.comment(issue, {"content": "/note hello"})) == "rev:3"
    assert evidence_after(lambda state: state.update(issue, {"status": "blocked"})) == "rev:4"
