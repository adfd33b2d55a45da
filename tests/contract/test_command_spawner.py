"""Turns by way of the `openclaw` program: the spawners' suite, and what is peculiar to a program that takes no
idempotency key and tells nothing before the end (rules X2, X6, contract 6.1)."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from heartbeat.attempt import Cause, Engine, Outcome, Usage
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Going, Sighting, StartError
from heartbeat.dispatch.command import build
from heartbeat.dispatch.folder import KEPT, RunFolder, runs_directory
from heartbeat.dispatch.watched import sweep
from heartbeat.systems.base import TransportError
from tests.contract.spawner_suite import PATIENCE, SpawnerCase, SpawnerSuite, patience, tried_again
from tests.support.command_spawner_cases import TOKEN, CommandCase, open_command_case
from tests.support.fake_models import Behaviour
from tests.support.rosters import make_roster


@pytest.fixture
def case(tmp_path: Path) -> Iterator[CommandCase]:
    with open_command_case(tmp_path) as opened:
        yield opened


class TestTurnsByTheProgram(SpawnerSuite):
    @pytest.fixture
    def case(self, tmp_path: Path) -> Iterator[SpawnerCase]:
        with open_command_case(tmp_path) as opened:
            yield opened

    @pytest.mark.parametrize(
        ("behaviour", "cause", "code"),
        [(Behaviour.DENIED, Cause.REFUSES, 401), (Behaviour.MALFORMED, Cause.TASK, None)],
        ids=["401", "400"],
    )
    def test_F3_a_model_that_refuses_is_told_with_what_that_means(
        self, case: SpawnerCase, behaviour: Behaviour, cause: Cause, code: int | None
    ) -> None:
        """The program's words for a 400 do not name the number."""
        order = case.order(behaviour)
        case.start(order)
        seen = case.ended(order)
        assert seen.failure is not None
        assert (seen.outcome, seen.failure.cause, seen.failure.code) == (Outcome.FAILED, cause, code)
        assert seen.exit_code == 1

    def test_F3_an_engine_that_is_not_there_is_no_providers_failure_and_took_nothing(self, case: SpawnerCase) -> None:
        """What became of a turn stands in files of ours: to look, nothing need be there."""
        order = case.order()
        with case.gone():
            with pytest.raises(StartError) as refused:
                case.start(order)
            assert case.look(order) == Sighting(Going.UNKNOWN)
            assert case.spawner().abort(order.attempt, patience())
        assert (refused.value.failure.cause, refused.value.unknown) == (Cause.ENGINE, False)
        assert "ECONNREFUSED" in str(refused.value)
        assert refused.value.advice
        assert case.calls(order) == 0
        case.start(tried_again(order))
        assert case.ended(order).outcome is Outcome.COMPLETED, "the same id may be asked again"

    def test_X6_an_answer_that_is_lost_leaves_the_turn_to_be_found_and_not_to_be_started_again(
        self, case: SpawnerCase
    ) -> None:
        """The program lost sight of the Gateway after it had sent the request, and nobody can find the turn again."""
        assert isinstance(case, CommandCase)
        order = case.order()
        case.program.order(reach="lost")
        with pytest.raises(StartError) as lost:
            case.start(order)
        assert lost.value.unknown
        assert lost.value.failure.cause is Cause.ENGINE
        case.program.order(reach="up")
        case.start(tried_again(order))
        seen = case.look(order)
        assert (seen.going, seen.outcome) == (Going.ENDED, Outcome.LOST)
        assert case.calls(order) == 0, "the id is used up"
        assert not case.spawner().abort(order.attempt, patience()), "nobody knows whether it goes on"


def test_a_turn_costs_what_the_program_says(case: CommandCase) -> None:
    order = case.order()
    case.start(order)
    usage = Usage(input_tokens=1230, output_tokens=12, cost_usd=0.00125)
    assert case.ended(order) == Sighting(Going.ENDED, Outcome.COMPLETED, model="fake/answers", usage=usage, exit_code=0)


def test_the_program_is_called_with_values_that_cannot_be_flags_and_no_secret(case: CommandCase) -> None:
    order = case.order(run_seconds=90.4)
    attempt = replace(order.attempt, agent="--local", session="--json")
    accepted = case.spawner().start(replace(order, attempt=attempt, message="-- $(id)\n一 `x`\0"), patience())
    assert case.ended(order).outcome is Outcome.COMPLETED
    (call,) = case.program.record("called")
    message = str(case.folder(order).path / "message.md")
    assert call["argv"] == [
        "agent",
        "--agent=--local",
        "--session-key=--json",
        f"--message-file={message}",
        "--timeout=90",
        "--json",
        "--model=fake/answers",
    ]
    assert call["message"] == "-- $(id)\n一 `x`\0"
    assert call["environment"]["OPENCLAW_GATEWAY_TOKEN"] == TOKEN
    assert call["environment"]["LC_ALL"] == "C.UTF-8"
    assert accepted.run == order.attempt.id
    assert accepted.session == "agent:--local:--json"


def test_without_a_model_the_program_is_asked_for_none(case: CommandCase) -> None:
    order = replace(case.order(), model="")
    case.start(order)
    case.ended(order)
    assert not any(part.startswith("--model") for part in case.program.record("called")[0]["argv"])


def test_what_is_on_record_is_ours_alone_to_read_and_holds_no_token(case: CommandCase) -> None:
    order = case.order()
    case.start(order)
    case.ended(order)
    files = [path for path in case.folder(order).path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {
        *("order.json", "message.md", "began", "child", "output", "errors", "result.json", "supervisor.log")
    }
    assert all(TOKEN.encode() not in path.read_bytes() for path in files)
    assert stat.S_IMODE(case.folder(order).path.stat().st_mode) == 0o700
    assert (case.folder(order).path / "supervisor.log").read_bytes() == b""


def test_a_token_that_the_program_repeats_is_not_told(case: CommandCase) -> None:
    order = replace(case.order(), model="fake/telltale")
    case.start(order)
    seen = case.ended(order)
    assert seen.failure is not None
    assert TOKEN not in repr(seen)
    assert "[hidden]" in seen.failure.message
    assert TOKEN not in repr(case.spawner())


def test_an_agent_that_openclaw_does_not_know_is_nobodys_fault_but_the_orders(case: CommandCase) -> None:
    order = case.order()
    case.program.order(reach="unknown agent")
    with pytest.raises(StartError, match="Unknown agent id") as refused:
        case.start(order)
    assert (refused.value.failure.cause, refused.value.unknown) == (Cause.TASK, False)
    assert case.look(order).going is Going.UNKNOWN


def test_a_program_without_its_node_took_nothing(case: CommandCase) -> None:
    order = case.order()
    case.program.order(reach="no node")
    with pytest.raises(StartError, match="node") as refused:
        case.start(order)
    assert (refused.value.failure.cause, refused.value.unknown) == (Cause.ENGINE, False)
    assert "PATH" in refused.value.advice


def test_a_program_that_is_not_installed_took_nothing(case: CommandCase) -> None:
    order = case.order()
    case.program.program.unlink()
    assert case.spawner().absent()
    with pytest.raises(StartError, match="no program openclaw") as refused:
        case.start(order)
    assert refused.value.failure.cause is Cause.ENGINE
    assert not case.spawner().knows(order.attempt)


def test_a_program_that_cannot_be_run_took_nothing(case: CommandCase) -> None:
    order = case.order()
    case.program.program.write_text("#!/no/such/interpreter\n")
    with pytest.raises(StartError, match="cannot be started") as refused:
        case.start(order)
    assert (refused.value.failure.cause, refused.value.unknown) == (Cause.ENGINE, False)


@pytest.mark.parametrize(("model", "over"), [("crash", False), ("cut", False)])
def test_X6_a_program_that_tells_no_result_leaves_a_turn_that_is_lost(
    case: CommandCase, model: str, over: bool
) -> None:
    order = replace(case.order(), model=f"fake/{model}")
    case.start(order)
    seen = case.ended(order)
    assert (seen.outcome, seen.failure is not None and seen.failure.cause) == (Outcome.LOST, Cause.ENGINE)
    assert case.spawner().abort(order.attempt, patience()) is over


def test_a_turn_that_somebody_stopped_at_the_gateway_is_nobodys_failure(case: CommandCase) -> None:
    order = replace(case.order(), model="fake/aborted")
    case.start(order)
    seen = case.ended(order)
    assert (seen.outcome, seen.failure is not None and seen.failure.cause) == (Outcome.ABORTED, Cause.NONE)


def test_an_abort_that_the_gateway_did_not_confirm_is_told_as_uncertain(case: CommandCase) -> None:
    order = replace(case.order(), model="fake/unconfirmed")
    case.start(order)
    case.asked(order)
    assert not case.spawner().abort(order.attempt, patience())
    assert case.look(order).outcome is Outcome.ABORTED


def test_X6_of_many_that_start_one_id_at_once_one_makes_the_turn(case: CommandCase) -> None:
    order, number = case.order(Behaviour.HELD), 6
    gate, accepted = threading.Barrier(number), []

    def start() -> None:
        gate.wait(PATIENCE)
        accepted.append(case.start(order))

    threads = [threading.Thread(target=start) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    case.asked(order)
    assert len({each.run for each in accepted}) == 1
    assert len(accepted) == number
    case.let_go()
    assert case.ended(order).outcome is Outcome.COMPLETED
    assert case.calls(order) == 1


def test_forgetting_removes_what_was_on_record(case: CommandCase) -> None:
    order = case.order()
    case.start(order)
    case.ended(order)
    case.spawner().forget(order.attempt)
    case.spawner().forget(order.attempt)
    assert not case.folder(order).exists()
    assert case.look(order).going is Going.UNKNOWN


def test_sweeping_leaves_what_runs_what_is_wanted_and_what_is_young(case: CommandCase) -> None:
    old, wanted, young, running = case.order(), case.order(), case.order(), case.order(Behaviour.HELD)
    for order in (old, wanted, young, running):
        case.start(order)
    for order in (old, wanted, young):
        case.ended(order)
    long_ago = 1_000_000_000
    for order in (old, wanted, running):
        os.utime(case.folder(order).path, (long_ago, long_ago))
    assert sweep(case.runs, {wanted.attempt.id}, older_than=KEPT) == 1
    assert [case.folder(order).exists() for order in (old, wanted, young, running)] == [False, True, True, True]
    assert sweep(case.runs / "nowhere", ()) == 0


def test_a_directory_that_cannot_be_written_takes_nothing_and_one_that_cannot_be_read_is_told(
    case: CommandCase,
) -> None:
    order = case.order()
    case.runs.parent.mkdir(parents=True)
    case.runs.write_text("a file where the directory should be")
    with pytest.raises(StartError, match="cannot be written") as refused:
        case.start(order)
    assert (refused.value.failure.cause, refused.value.unknown) == (Cause.ENGINE, False)
    case.runs.unlink()
    case.start(order)
    began = case.folder(order).path / "began"
    case.ended(order)
    began.unlink()
    began.mkdir()
    with pytest.raises(TransportError, match="cannot be read"):
        case.look(order)
    began.rmdir()


def test_no_id_leads_out_of_the_directory(tmp_path: Path) -> None:
    for name in ("../x", "", ".", "a/b", "-x", "é"):
        with pytest.raises(ValueError, match="dispatch id"):
            RunFolder(tmp_path, name)


def test_a_file_is_whole_or_not_there_and_one_writer_is_the_first(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs", "hb-1")
    folder.make()
    assert folder.read_json("began") is None
    assert folder.put_new("began", {"pid": 1})
    assert not folder.put_new("began", {"pid": 2})
    assert folder.read_json("began") == {"pid": 1}
    folder.put("began", b"{")
    assert folder.read_json("began") == {}
    assert [path.name for path in folder.path.iterdir()] == ["began"]


def test_the_folders_are_in_the_state_directory(tmp_path: Path) -> None:
    roster = make_roster(path=tmp_path / "agents.yaml", state=tmp_path / "state")
    assert runs_directory(roster, {}) == tmp_path / "state" / "runs"
    assert runs_directory(roster, {"HEARTBEAT_HOME": str(tmp_path / "home")}) == tmp_path / "home" / "runs"
    from heartbeat.cli.session import state_of

    homeless = replace(roster, state=None)
    assert runs_directory(homeless, {}) == state_of(homeless) / "runs"


def test_the_roster_says_which_program_and_which_gateway(tmp_path: Path) -> None:
    settings = {"binary": "/opt/openclaw", "url": "ws://127.0.0.1:1", "token_env": "T"}
    roster = make_roster(path=tmp_path / "a.yaml", sources={"workboard": settings})
    spawner = build(roster, {"T": "t"}, tmp_path)
    assert (spawner.binary, spawner.url, spawner.token_env, spawner.runs) == (*settings.values(), tmp_path)
    assert spawner.engine is Engine.OPENCLAW


def test_a_late_beginner_does_not_begin_once_it_is_settled_that_nobody_does(case: CommandCase) -> None:
    """Somebody prepared everything and died; a look settled the matter; then the one that was to begin wakes up."""
    order = case.order()
    case.folder(order).make()
    told = {"argv": [str(case.program.program)], "seconds": 1, "grace": 1, "max_bytes": 1, "begin_by": 0.0}
    case.folder(order).put_json("order.json", told)
    assert case.look(order) == Sighting(Going.UNKNOWN)
    assert case.watched(order) == ["expired"]
    assert not case.folder(order).exists()
    assert case.program.record() == []


def test_while_somebody_may_be_about_to_begin_the_turn_counts_as_running(case: CommandCase) -> None:
    from heartbeat.store.holder import boot

    order = case.order()
    case.folder(order).make()
    told = {"begin_by": Deadline.after(PATIENCE).at, "boot": boot()}
    case.folder(order).put_json("order.json", told)
    assert case.look(order) == Sighting(Going.RUNNING)
    case.folder(order).put_json("order.json", {**told, "boot": "another"})
    assert case.look(order) == Sighting(Going.UNKNOWN), "no process outlives a boot"


def test_a_settled_id_may_be_asked_again(case: CommandCase) -> None:
    order = case.order()
    case.folder(order).make()
    assert case.folder(order).put_new("began", {"void": True})
    case.start(order)
    assert case.ended(order).outcome is Outcome.COMPLETED
    assert json.loads((case.folder(order).path / "result.json").read_text())["how"] == "ended"
