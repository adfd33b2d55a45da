"""Writing to Multica over its transports: rules L2, L4, L6, T2 and T7 on a server that behaves as the real one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from heartbeat.action import Operation, Output, OutputType, Voice, Write, signature
from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.multica.writer import IssueLook, build
from heartbeat.systems.writing import ConflictError, Look, UnsupportedError, Written
from heartbeat.task import NOBODY, Evidence, EvidenceKind, Owner, OwnerKind, Ref, Status
from tests.contract.writer_suite import OTHER, PATIENCE, WORKER
from tests.support import fake_multica_cli
from tests.support.fake_multica_records import CODEX, CORE_SQUAD, REVIEWER
from tests.support.fake_multica_server import WRITES, Request, Response, answers, hangs, resets
from tests.support.multica_cases import environment
from tests.support.multica_writer_cases import KINDS, OLD_COMMAND, ROSTER, MulticaWriterCase

MOMENT = datetime(2026, 11, 21, 4, tzinfo=UTC)
OWNER = Owner(OwnerKind.AGENT, WORKER)
STATUSES = tuple(status for status in Status if status is not Status.UNKNOWN)
FILES = (Output("src/a.py", OutputType.CODE, "the fix"), Output("https://example.test/x"))
WRITES_BY_OPERATION: Mapping[Operation, dict[str, Any]] = {
    Operation.COMMENT: {"text": "看一下"},
    Operation.RECOVER: {"text": "已恢复", "status": Status.TODO},
    Operation.BLOCK: {"text": "已阻塞"},
    Operation.UNBLOCK: {"text": "继续"},
    Operation.ASSIGN: {"text": "转交", "agent": OTHER},
    Operation.CLAIM: {"agent": WORKER},
    Operation.MOVE: {"status": Status.IN_REVIEW},
    Operation.DONE: {"text": "好了", "outputs": FILES},
    Operation.ATTACH: {"outputs": FILES},
}
ENDS_IN: Mapping[Operation, Status] = {
    Operation.RECOVER: Status.TODO,
    Operation.BLOCK: Status.BLOCKED,
    Operation.UNBLOCK: Status.TODO,
    Operation.CLAIM: Status.IN_PROGRESS,
    Operation.MOVE: Status.IN_REVIEW,
    Operation.DONE: Status.DONE,
}


# Every transport takes the whole suite of test_writers.py; the command is slow, and takes these at leisure.
@pytest.fixture(params=["api", "api-without-revisions", pytest.param("cli", marks=pytest.mark.slow)])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MulticaWriterCase]:
    with KINDS[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture(params=["api", "api-without-revisions"])
def rest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MulticaWriterCase]:
    with KINDS[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture(params=KINDS)
def every(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MulticaWriterCase]:
    """Where it matters how both the transport and the server tell changes apart; the command takes its time."""
    with KINDS[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
def api(tmp_path: Path) -> Iterator[MulticaWriterCase]:
    with KINDS["api"](tmp_path) as opened:
        yield opened


@pytest.fixture
def old_command(tmp_path: Path) -> Iterator[MulticaWriterCase]:
    with OLD_COMMAND(tmp_path) as opened:
        yield opened


def make_write(ref: Ref, operation: Operation = Operation.RECOVER, **changes: Any) -> Write:
    fields: dict[str, Any] = {"key": f"key/{operation}", **WRITES_BY_OPERATION[operation], **changes}
    return Write(ref=ref, operation=operation, **fields)


def look(case: MulticaWriterCase, ref: Ref, owner: Owner = OWNER, seconds: float = PATIENCE) -> IssueLook:
    return case.writer.look(ref, owner, Deadline.after(seconds), case.now)


def apply(case: MulticaWriterCase, write: Write, seen: Look, seconds: float = PATIENCE) -> Written:
    return case.writer.apply(write, seen, Deadline.after(seconds), case.now)


def carry_out(case: MulticaWriterCase, write: Write) -> Written:
    return apply(case, write, look(case, write.ref))


def edits(seen: Look) -> list[Evidence]:
    return [each for each in seen.evidence if each.kind is EvidenceKind.EDITED]


# Every operation, from everywhere: once, and without waking anybody.


def test_whatever_is_done_from_whatever_status_no_run_starts_and_it_is_done_once(case: MulticaWriterCase) -> None:
    """Over the command, which takes a process for each question, only what changes a status, and from the backlog."""
    by_command = case.transport == "cli"
    for operation in ENDS_IN if by_command else WRITES_BY_OPERATION:
        for status in (Status.BACKLOG,) if by_command else STATUSES:
            ref = case.make(f"{operation} from {status}", status.value)
            write = make_write(ref, operation)
            carry_out(case, write)
            record, texts = dict(case.record(ref)), list(case.texts(ref))
            again = carry_out(case, write)
            assert (case.record(ref), list(case.texts(ref))) == (record, texts), (operation, status)
            assert "nothing was left to do" in again.note
            assert record["status"] == ENDS_IN.get(operation, Status(record["status"])).value
            assert sum(text.startswith("/note ") for text in texts) == len(texts) <= 1
    assert case.state.started == []


def test_a_write_says_what_it_did_and_signs_it(case: MulticaWriterCase) -> None:
    ref = case.work("登录页报错")
    write = make_write(ref, text="heartbeat：任务超时\n第二行 \\n $(id) -- `x` <b>")
    written = carry_out(case, write)
    (text,) = case.texts(ref)
    assert text.startswith("/note heartbeat：任务超时\n第二行 \\n $(id) -- `x` <b> [")
    assert signature(text) == (Voice.RULE, write.marker)
    assert written.note == "ACM-1: noted, status todo set"
    assert case.item(ref).owner == OWNER


@pytest.mark.parametrize(
    ("operation", "before", "after"),
    [
        (Operation.ASSIGN, "in_progress", "todo"),
        (Operation.ASSIGN, "blocked", "todo"),
        (Operation.ASSIGN, "backlog", "backlog"),
        (Operation.CLAIM, "todo", "in_progress"),
    ],
)
def test_L6_another_agent_is_given_the_issue_without_being_woken(
    rest: MulticaWriterCase, operation: Operation, before: str, after: str
) -> None:
    ref = rest.make("For somebody else", before)
    carry_out(rest, make_write(ref, operation, agent=OTHER))
    record = rest.record(ref)
    assert (record["assignee_type"], record["assignee_id"], record["status"]) == ("agent", CODEX, after)
    assert rest.state.started == []


def test_an_unassigned_issue_can_be_claimed_and_one_of_a_squad_stays_the_squads(rest: MulticaWriterCase) -> None:
    free = rest.make("Free", "todo", assignee_type=None, assignee_id=None)
    carry_out(rest, make_write(free, Operation.CLAIM))
    assert rest.record(free)["assignee_id"] == REVIEWER
    led = rest.make("Led", "todo", assignee_type="squad", assignee_id=CORE_SQUAD)
    carry_out(rest, make_write(led, Operation.CLAIM, agent=OTHER))
    assert (rest.record(led)["assignee_id"], rest.record(led)["status"]) == (CORE_SQUAD, "in_progress")
    assert rest.state.started == []


def test_S6a_what_belongs_to_a_squad_is_not_taken_from_it_where_nobody_knows_who_leads_it(tmp_path: Path) -> None:
    with KINDS["cli"](tmp_path) as case:
        led = case.make("Led", "todo", assignee_type="squad", assignee_id=CORE_SQUAD)
        with pytest.raises(UnsupportedError, match="squad"):
            carry_out(case, make_write(led, Operation.CLAIM, agent=OTHER))
        assert case.state.writes == []


def test_an_agent_that_the_roster_does_not_know_is_given_work_by_its_uuid_alone(api: MulticaWriterCase) -> None:
    stranger = "0198f0a0-3333-7000-8000-0000000000ff"
    api.state.add_agent(stranger, "Stranger")
    ref = api.work("For a stranger")
    with pytest.raises(UnsupportedError, match="does not say who that is"):
        carry_out(api, make_write(ref, Operation.ASSIGN, agent="nobody"))
    assert api.state.writes == []
    carry_out(api, make_write(ref, Operation.ASSIGN, agent=stranger))
    assert api.record(ref)["assignee_id"] == stranger


def test_outputs_stand_in_one_note_and_their_names_mean_nothing(rest: MulticaWriterCase) -> None:
    ref = rest.work("With outputs")
    hostile = (*FILES, Output("a`b\n- [x] @all.md", note="two\nlines [X](mention://agent/" + CODEX + ")"))
    carry_out(rest, make_write(ref, Operation.DONE, outputs=hostile))
    (text,) = rest.texts(ref)
    assert rest.outputs(ref) == ["src/a.py", "https://example.test/x", "a'b - [x] @all.md"]
    assert "- `src/a.py` (code): the fix\n" in text
    assert text.startswith("/note 好了\n")
    assert rest.state.started == []


def test_a_custom_status_of_the_wanted_category_is_left_as_it_is(api: MulticaWriterCase) -> None:
    ref = api.make("Under review", "human_review")
    assert carry_out(api, make_write(ref, Operation.MOVE)).evidence_ids == ()
    assert api.record(ref)["status"] == "human_review"


def test_the_end_of_a_stage_wakes_the_parents_agent_and_nobody_else(api: MulticaWriterCase) -> None:
    parent = api.work("Parent", OTHER)
    child = api.make("Child", "in_progress", parent_issue_id=parent.id, stage=1)
    carry_out(api, make_write(child, Operation.DONE))
    assert api.state.started == [f"ACM-1 {CODEX}"]


def test_what_multica_cannot_do_is_said_before_anything_is_written(api: MulticaWriterCase) -> None:
    ref = api.work("Task")
    assert not api.writer.can(Operation.CREATE)
    impossible = (
        Write("k", ref, Operation.CREATE),
        Write("k", ref, Operation.MOVE, text="x"),
        Write("k", ref, Operation.MOVE, text="x", status=Status.UNKNOWN),
    )
    for write in impossible:
        with pytest.raises(UnsupportedError):
            carry_out(api, write)
    assert api.state.writes == []


# Old servers and commands.


def test_a_server_that_starts_runs_in_spite_of_us_is_not_written_to_where_it_could(tmp_path: Path) -> None:
    with KINDS["api-without-revisions"](tmp_path) as case:
        case.state.heeds_quiet = False
        assigned = case.make("Assigned", "in_progress")
        free = case.make("Free", "backlog", assignee_type=None, assignee_id=None)
        for write in (
            make_write(assigned, Operation.COMMENT),
            make_write(assigned),
            make_write(free, Operation.CLAIM),
            make_write(free, Operation.ASSIGN),
        ):
            with pytest.raises(UnsupportedError, match="start no run"):
                carry_out(case, write)
        assert case.state.writes == []
        carry_out(case, make_write(free))
        assert case.record(free)["status"] == "todo"
        assert case.state.started == []


@pytest.mark.parametrize("operation", [Operation.RECOVER, Operation.BLOCK, Operation.CLAIM, Operation.ASSIGN])
def test_a_command_without_no_start_refuses_what_would_start_a_run_and_leaves_no_note(
    old_command: MulticaWriterCase, operation: Operation
) -> None:
    ref = old_command.make("Task", "in_progress" if operation is Operation.ASSIGN else "backlog")
    with pytest.raises(UnsupportedError, match="--no-start") as caught:
        carry_out(old_command, make_write(ref, operation))
    assert "update the multica command" in caught.value.advice
    assert old_command.state.writes == []


def test_a_command_without_no_start_still_does_what_starts_no_run_anyway(old_command: MulticaWriterCase) -> None:
    ref = old_command.work("Task")
    written = carry_out(old_command, make_write(ref))
    assert old_command.record(ref)["status"] == "todo"
    assert len(old_command.texts(ref)) == 1
    assert old_command.signs(ref).keys() <= set(written.evidence_ids)
    carry_out(old_command, make_write(ref, Operation.CLAIM))
    assert old_command.record(ref)["status"] == "in_progress"
    assert old_command.state.started == []


def test_ids_go_behind_the_flags_and_texts_by_stdin(tmp_path: Path) -> None:
    with KINDS["cli"](tmp_path) as case:
        ref = case.work("Task")
        carry_out(case, make_write(ref, text="secret plan"))
        called = [call["argv"] for call in fake_multica_cli.calls(tmp_path / "bin" / "multica")]
        assert all(argv[-2:] == ["--", ref.id] for argv in called if argv[0] == "issue")
        assert any(argv[:2] == ["issue", "update"] for argv in called)
        assert not any("secret plan" in argument for argv in called for argument in argv)


# Lost answers (rule L4).


@pytest.mark.parametrize("lost", ["comments$", "^/api/issues/[^/]+$"])
def test_L4_after_a_lost_answer_a_new_look_and_the_same_write_leave_one_effect(
    every: MulticaWriterCase, lost: str
) -> None:
    ref = every.work("Task")
    before = set(every.signs(ref))
    write = make_write(ref)
    every.server.break_with(resets, method=WRITES, path=lost, times=1, after=True)
    with pytest.raises(TransportError) as caught:
        carry_out(every, write)
    assert caught.value.outcome_unknown
    seen = look(every, ref)
    assert write.marker in seen.markers
    assert all(each.own for each in seen.evidence)
    ids = set(apply(every, write, seen).evidence_ids)
    assert len(every.texts(ref)) == 1
    assert every.record(ref)["status"] == "todo"
    assert set(every.signs(ref)) - before <= ids
    assert every.state.comments.keys() <= ids


def test_L4_a_lost_answer_that_somebody_followed_up_is_not_all_ours(rest: MulticaWriterCase) -> None:
    ref = rest.work("Task")
    rest.lose_next_answer()
    with pytest.raises(TransportError):
        carry_out(rest, make_write(ref))
    rest.comment_as_other(ref, "I am at it")
    assert [each.own for each in edits(look(rest, ref))] == [False]


def test_a_write_that_never_arrived_is_no_unknown_outcome(case: MulticaWriterCase) -> None:
    ref = case.work("Task")
    seen = look(case, ref)
    case.server.close()
    with pytest.raises(TransportError) as caught:
        apply(case, make_write(ref), seen)
    assert caught.value.kind is FailureKind.UNREACHABLE
    assert not caught.value.outcome_unknown


def test_S4_a_write_that_hangs_ends_at_the_deadline_with_its_outcome_unknown(case: MulticaWriterCase) -> None:
    ref = case.work("Task")
    seen = look(case, ref)
    case.server.break_with(hangs, method="POST")
    with pytest.raises(TransportError) as caught:
        apply(case, make_write(ref), seen, seconds=1.2)
    assert caught.value.kind is FailureKind.TIMEOUT
    assert caught.value.outcome_unknown


def test_a_gateway_that_fails_leaves_the_outcome_unknown_and_a_refusal_does_not(case: MulticaWriterCase) -> None:
    ref = case.work("Task")
    seen = look(case, ref)
    for status, unknown in ((502, True), (403, False), (500, False)):
        case.server.break_with(answers(status, {"error": "no such luck"}), method="POST", times=1)
        with pytest.raises(TransportError) as caught:
            apply(case, make_write(ref), seen)
        assert caught.value.outcome_unknown is unknown
        assert str(status) in str(caught.value)


# Whose change it was (rule T2).


def test_T2_everything_that_a_write_leaves_is_named_as_ours(every: MulticaWriterCase) -> None:
    ref = every.work("Task")
    for operation in (Operation.COMMENT, Operation.RECOVER, Operation.CLAIM):
        before = set(every.signs(ref)) | {each.id for each in look(every, ref).evidence}
        ids = set(carry_out(every, make_write(ref, operation)).evidence_ids)
        after = set(every.signs(ref)) | {each.id for each in look(every, ref).evidence}
        assert after - before
        assert after - before <= ids, operation
        assert not ids & before


def says(case: MulticaWriterCase, ref: Ref) -> None:
    case.comment_as_other(ref, "still at it")


def renames(case: MulticaWriterCase, ref: Ref) -> None:
    case.edit(ref, title="Another title")


def finds(case: MulticaWriterCase, ref: Ref) -> None:
    case.state.pass_time(seconds=1)
    case.state.set_metadata(case.record(ref), "found", {"value": True})


@pytest.mark.parametrize(
    ("operation", "disturb"),
    [
        (Operation.COMMENT, says),
        (Operation.RECOVER, says),
        (Operation.RECOVER, renames),
        (Operation.CLAIM, finds),
    ],
)
def test_T2_what_somebody_else_did_between_look_and_write_stays_theirs(
    every: MulticaWriterCase, operation: Operation, disturb: Callable[[MulticaWriterCase, Ref], None]
) -> None:
    ref = every.waiting("Task") if operation is Operation.CLAIM else every.work("Task")
    seen = look(every, ref)
    disturb(every, ref)
    ids = apply(every, make_write(ref, operation), seen).evidence_ids
    assert set(every.signs(ref)).isdisjoint(ids)
    assert set(ids) <= every.state.comments.keys()


def test_T2_what_somebody_else_does_between_note_and_change_stays_theirs(case: MulticaWriterCase) -> None:
    ref = case.work("Task")
    seen = look(case, ref)

    def also_edit(request: Request) -> None:
        case.state.pass_time(seconds=1)
        if request.method == "PUT" and case.record(ref)["priority"] == "none":
            case.edit(ref, priority="high")

    case.server.before = also_edit
    ids = apply(case, make_write(ref), seen).evidence_ids
    assert case.record(ref)["status"] == "todo"
    assert set(case.signs(ref)).isdisjoint(ids)
    assert case.state.comments.keys() <= set(ids)


def test_T2_an_agents_own_words_through_us_are_no_rules_words(rest: MulticaWriterCase) -> None:
    ref = rest.work("Task")
    carry_out(rest, make_write(ref, Operation.COMMENT, voice=Voice.AGENT))
    seen = look(rest, ref)
    assert [each.own for each in seen.evidence] == [False, False]
    assert make_write(ref, Operation.COMMENT).marker in seen.markers


def test_T2_what_cannot_be_checked_afterwards_is_not_claimed_and_it_is_said(tmp_path: Path) -> None:
    with KINDS["api-without-revisions"](tmp_path) as case:
        ref = case.work("Task")
        seen = look(case, ref)
        case.server.break_with(answers(500, {"error": "failed"}), method="GET", path="comments$")
        written = apply(case, make_write(ref), seen)
        assert case.record(ref)["status"] == "todo"
        assert set(written.evidence_ids) == case.state.comments.keys()
        assert "is not known" in written.note


# Conflicts (rule L6).


@pytest.mark.parametrize(
    "fields",
    [{"status": "done"}, {"assignee_type": "agent", "assignee_id": CODEX, "suppress_run": True}],
    ids=["moved", "given away"],
)
def test_L6_an_issue_that_was_moved_or_given_away_meanwhile_is_not_changed(
    case: MulticaWriterCase, fields: dict[str, Any]
) -> None:
    ref = case.work("Task")
    for operation in (Operation.RECOVER, Operation.MOVE):
        seen = look(case, ref)
        case.edit(ref, **fields)
        with pytest.raises(ConflictError, match="meanwhile"):
            apply(case, make_write(ref, operation), seen)
        assert fields.items() - {("suppress_run", True)} <= case.record(ref).items()
        case.edit(ref, status="in_progress", assignee_type="agent", assignee_id=REVIEWER, suppress_run=True)


def test_L6_a_move_between_note_and_change_is_seen_by_the_revision(api: MulticaWriterCase) -> None:
    ref = api.work("Task")
    seen = look(api, ref)

    def also_finish(request: Request) -> None:
        if request.method == "PUT":
            api.edit(ref, status="done")

    api.server.before = also_finish
    with pytest.raises(ConflictError, match=r"in_progress of .* to done"):
        apply(api, make_write(ref), seen)
    assert api.record(ref)["status"] == "done"


def test_L6_a_move_that_comes_with_our_note_is_not_undone(case: MulticaWriterCase) -> None:
    ref = case.work("Task")
    seen = look(case, ref)

    def also_finish(request: Request) -> None:
        if request.method == "POST":
            case.edit(ref, status="done")

    case.server.before = also_finish
    with pytest.raises(ConflictError, match="meanwhile"):
        apply(case, make_write(ref), seen)
    assert case.record(ref)["status"] == "done"


def test_L6_an_issue_that_never_rests_is_given_up(api: MulticaWriterCase) -> None:
    ref = api.work("Task")
    seen = look(api, ref)

    def also_edit(request: Request) -> None:
        if request.method == "PUT":
            api.edit(ref, title=f"{api.record(ref)['title']}!")

    api.server.before = also_edit
    with pytest.raises(ConflictError, match="keeps changing"):
        apply(api, make_write(ref, Operation.MOVE), seen)
    assert api.record(ref)["status"] == "in_progress"
    assert sum(line.startswith("PUT ") for line in api.server.requests) == 2


def test_L6_an_issue_that_is_deleted_is_gone_for_a_look_and_a_conflict_for_a_write(case: MulticaWriterCase) -> None:
    ref = case.work("Task")
    seen = look(case, ref)
    case.state.delete(case.record(ref))
    with pytest.raises(ConflictError, match="deleted"):
        apply(case, make_write(ref), seen)
    gone = look(case, ref)
    assert gone.item is None
    with pytest.raises(ConflictError):
        apply(case, make_write(ref), gone)


def test_another_refusal_is_no_conflict(api: MulticaWriterCase) -> None:
    ref = api.work("Task")
    seen = look(api, ref)
    api.server.break_with(answers(409, {"error": "this status was archived"}), method="PUT")
    with pytest.raises(TransportError, match="archived") as caught:
        apply(api, make_write(ref), seen)
    assert not isinstance(caught.value, ConflictError)


def test_a_server_that_does_not_do_what_it_accepts_is_told(rest: MulticaWriterCase) -> None:
    ref = rest.work("Task")
    seen = look(rest, ref)
    unchanged = Response(value=rest.state.issue_json(rest.record(ref), labels=False))
    rest.server.break_with(lambda handler: handler.send(unchanged), method="PUT")
    with pytest.raises(ConflictError, match="was to have status todo and has status in_progress"):
        apply(rest, make_write(ref), seen)


# Looking.


def test_a_look_shows_the_item_its_claimant_and_everything_that_was_said(case: MulticaWriterCase) -> None:
    ref = case.work("Task")
    case.comment_as_other(ref, "at it")
    case.state.pass_time(seconds=1)
    case.state.add_comment(ref.id, "system", "00000000-0000-0000-0000-000000000000", "Stage 1 has ended", type="system")
    case.state.pass_time(seconds=5)
    carry_out(case, make_write(ref, Operation.COMMENT))
    seen = look(case, ref)
    assert seen.item == case.item(ref)
    assert seen.claimant == WORKER
    comments = [(each.kind, each.own) for each in seen.evidence if each.id in case.state.comments]
    assert comments == [(EvidenceKind.COMMENT, False), (EvidenceKind.SWEEP, False), (EvidenceKind.COMMENT, True)]
    assert {each.id for each in edits(seen)} == case.signs(ref).keys()


def test_T2_a_note_of_ours_that_somebody_quotes_is_theirs(rest: MulticaWriterCase) -> None:
    ref = rest.work("Task")
    carry_out(rest, make_write(ref))
    quoted = rest.texts(ref)[0].removeprefix("/note ")
    other = rest.work("Other task")
    rest.comment_as_other(other, f"It says: {quoted}")
    seen = look(rest, other)
    assert seen.markers == frozenset()
    assert not any(each.own for each in seen.evidence)


@pytest.mark.parametrize("status", ["queued", "dispatched", "running", "waiting_local_directory"])
def test_T7_a_run_on_the_issue_is_active_whoever_runs_it(rest: MulticaWriterCase, status: str) -> None:
    ref = rest.work("Task")
    run = rest.state.add_run(ref.id, CODEX, status)
    seen = look(rest, ref)
    assert seen.active is True
    assert [each.id for each in seen.evidence if each.kind is EvidenceKind.RUN] == [run["id"]]


def test_T7_a_run_of_the_owner_elsewhere_is_active_and_one_of_somebody_else_is_not(case: MulticaWriterCase) -> None:
    ref, other = case.work("Task"), case.work("Other", OTHER)
    case.state.add_run(other.id, CODEX)
    assert look(case, ref).active is False
    run = case.state.add_run(other.id, REVIEWER)
    assert look(case, ref).active is True
    assert look(case, ref, NOBODY).active is False
    run["status"] = "completed"
    assert look(case, ref).active is False


@pytest.mark.parametrize("status", ["offline", "blocked", "error", "something new"])
def test_T7_the_command_knows_no_runs_elsewhere_where_the_agents_status_does_not_tell(
    tmp_path: Path, status: str
) -> None:
    with KINDS["cli"](tmp_path) as case:
        ref = case.work("Task")
        case.state.agents[REVIEWER]["status"] = status
        assert look(case, ref).active is None
        assert look(case, ref, NOBODY).active is False


def test_T7_the_command_does_not_know_what_it_cannot_ask(tmp_path: Path) -> None:
    with KINDS["cli"](tmp_path) as case:
        ref = case.work("Task")
        for path in ("task-runs$", "agents$"):
            case.server.break_with(answers(500, {"error": "failed"}), path=path, times=1)
            assert look(case, ref).active is None
        assert look(case, ref).active is False


@pytest.mark.parametrize("path", ["active-task$", "agent-task-snapshot$"])
def test_T7_runs_that_cannot_be_read_are_unknown_unless_one_shows(api: MulticaWriterCase, path: str) -> None:
    ref = api.work("Task")
    api.server.break_with(answers(500, {"error": "failed"}), path=path)
    assert look(api, ref).active is None
    api.state.add_run(ref.id, REVIEWER)
    assert look(api, ref).active is True


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (answers(404, {"error": "workspace not found"}), FailureKind.NOT_FOUND),
        (answers(404, b"404 page not found", content_type="text/plain"), FailureKind.NOT_FOUND),
        (answers(402, {"error": "issue_outside_creation_window"}), FailureKind.REFUSED),
        (answers(200, b"<html>"), FailureKind.BAD_OUTPUT),
    ],
)
def test_S2_only_the_servers_own_word_makes_an_issue_gone(
    case: MulticaWriterCase, answer: Any, kind: FailureKind
) -> None:
    ref = case.work("Task")
    case.server.break_with(answer, path=f"^/api/issues/{ref.id}$")
    with pytest.raises(TransportError) as caught:
        look(case, ref)
    assert caught.value.kind is kind


def test_another_record_than_the_one_that_was_asked_for_is_no_look_at_it(api: MulticaWriterCase) -> None:
    ref, other = api.work("Task"), api.work("Other")
    another = Response(value=api.state.issue_json(api.record(other)))
    api.server.break_with(lambda handler: handler.send(another), path=f"^/api/issues/{ref.id}$")
    with pytest.raises(TransportError, match="another record") as caught:
        look(api, ref)
    assert caught.value.kind is FailureKind.BAD_OUTPUT


# Which way.


def test_S1a_auto_looks_by_the_command_where_the_api_fails_and_writes_the_same_way(tmp_path: Path) -> None:
    with KINDS["cli"](tmp_path) as case:
        writer = build({"transport": "auto"}, ROSTER, environment(case.server, tmp_path))
        assert writer is not None
        ref = case.work("Task")
        case.server.break_with(answers(500, {"error": "failed"}), times=1)
        seen = writer.look(ref, OWNER, Deadline.after(PATIENCE), case.now)
        writer.apply(make_write(ref), seen, Deadline.after(PATIENCE), case.now)
        assert case.record(ref)["status"] == "todo"
        assert any("update" in call["argv"] for call in fake_multica_cli.calls(tmp_path / "bin" / "multica"))


def test_S1a_every_way_that_failed_is_told(tmp_path: Path) -> None:
    with KINDS["cli"](tmp_path) as case:
        writer = build({}, ROSTER, environment(case.server, tmp_path))
        assert writer is not None
        ref = case.work("Task")
        case.server.break_with(answers(403, {"error": "no"}))
        with pytest.raises(TransportError, match=r"api: .*403.*; cli: .*403") as caught:
            writer.look(ref, OWNER, Deadline.after(PATIENCE), case.now)
        assert caught.value.kind is FailureKind.AUTH


def test_S1a_where_nothing_is_set_up_there_is_nothing_to_write_to(tmp_path: Path) -> None:
    nowhere = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    writer = build({}, ROSTER, nowhere)
    assert writer is not None
    with pytest.raises(TransportError) as caught:
        writer.look(Ref("multica", "x"), OWNER, Deadline.after(PATIENCE), MOMENT)
    assert caught.value.kind is FailureKind.NOT_CONFIGURED
    assert build({"transport": "file", "path": tmp_path / "x.json"}, ROSTER, nowhere) is None


def test_a_look_that_another_writer_took_is_a_mistake_of_ours(api: MulticaWriterCase) -> None:
    ref = api.work("Task")
    with pytest.raises(TypeError):
        apply(api, make_write(ref), Look(item=None))
