"""`heartbeat dispatch`, `attempts` and `abort` from the outside: a board, a Gateway and its models, real transports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.cli import dispatched
from heartbeat.rules.dispatching import Reason
from heartbeat.store.locks import exclusive
from heartbeat.store.opening import open_store_read_only
from tests.support.command import Result, heartbeat, tree
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_models import Behaviour

TITLE = "登录页报错 500"
MANAGED = """\
failover: {strategy: managed}
providers:
  - {name: first, model: one/m, max_retries: 1}
  - {name: second, model: two/m, max_retries: 1, priority: 2}
"""
ROSTER = """\
version: 1
timezone: Asia/Shanghai
state: state
workspaces: workspaces
sources:
  workboard: {transport: gateway}
agents:
  coo: {class: high_frequency, notify: [self], patrol: true, dispatch: openclaw}
  architect: {class: developer}
"""


@dataclass
class Office:
    """A Gateway with a card for each of two agents. Its clock is an hour behind ours and moves with each reading."""

    folder: Path
    gateway: FakeGateway
    card: str
    other: str

    def run(self, *words: str) -> Result:
        return heartbeat(*words, cwd=self.folder, **self.gateway.environment())

    def roster(self, more: str) -> None:
        (self.folder / "agents.yaml").write_text(ROSTER + more)

    def models(self, **behaviours: Behaviour) -> None:
        """What the models of a provider do; `native` is the agents' own."""
        turns = self.gateway.turns
        turns.models = {
            turns.default if name == "native" else f"{name}/m": behaviour for name, behaviour in behaviours.items()
        }

    def status(self, card: str = "") -> str:
        record: dict[str, Any] = self.gateway.board.call("cards.runs", {"id": card or self.card})["card"]
        return str(record["status"])

    @property
    def runs(self) -> list[str]:
        return list(self.gateway.turns.runs)


@contextmanager
def opened(folder: Path) -> Iterator[Office]:
    earlier = datetime.now(UTC) - timedelta(hours=1)
    board = FakeBoard(SteppingClock(int(earlier.timestamp() * 1000)))
    first, second = board.create(TITLE, agentId="coo")["id"], board.create("别的事", agentId="architect")["id"]
    with FakeGateway(board) as gateway:
        office = Office(folder, gateway, first, second)
        office.roster("")
        yield office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path) as found:
        yield found


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits here; what would have been waited, in seconds."""
    waited: list[float] = []
    monkeypatch.setattr("heartbeat.cli.dispatch.wait_for", waited.append)
    return waited


def test_X1_X2_a_task_is_started_and_nobody_waits_for_the_model(office: Office) -> None:
    office.models(native=Behaviour.HELD)
    done = office.run("dispatch", TITLE, "--json")
    assert done.code == 0, done.err
    document = done.json
    assert (document["schema"], document["status"], document["agent"]) == ("heartbeat.dispatch/1", "running", "coo")
    assert (document["engine"], document["provider"], document["attempt"]) == ("openclaw", "native", 1)
    assert document["task"] == f"workboard:{office.card}"
    assert document["dispatch"] == office.runs[0]
    assert re.fullmatch(r"hb-workboard-[0-9a-f]{8}-[0-9a-f]{12}", document["session_key"])
    assert [each["life"] for each in document["attempts"]] == ["running"]
    assert [each["key"] for each in document["claims"]] == [office.card[:8]]
    assert document["prompt"] is None
    assert office.status() == "running"


def test_what_is_printed_says_what_runs_and_how_to_go_on(office: Office) -> None:
    office.models(native=Behaviour.HELD)
    done = office.run("dispatch", TITLE)
    assert done.code == 0, done.err
    run = office.runs[0]
    assert f"coo: {office.card[:8]} {TITLE}: running" in done.out
    assert f"  dispatch  {run}\n" in done.out
    assert f"heartbeat abort {run[:11]}" in done.out
    assert f"heartbeat dispatch {office.card[:8]} --wait" in done.out


def test_a_person_may_start_an_agent_that_the_roster_lets_nobody_start(office: Office) -> None:
    done = office.run("dispatch", office.other[:8], "--json")
    assert (done.code, done.json["agent"], done.json["status"]) == (0, "architect", "running")


def test_X5_a_task_whose_turn_goes_on_is_refused_and_the_turn_told(office: Office) -> None:
    office.models(native=Behaviour.HELD)
    office.run("dispatch", TITLE)
    again = office.run("dispatch", TITLE, "--json")
    assert again.code == 1
    assert (again.json["status"], again.json["reason"]) == ("refused", "busy")
    assert again.json["dispatch"] == office.runs[0]
    assert "has a turn that has not ended" in again.err
    assert f"heartbeat abort {office.runs[0][:11]}" in again.err
    assert len(office.runs) == 1


def test_B1_whoever_serves_the_agent_is_named(office: Office) -> None:
    with exclusive(office.folder / "state" / "locks" / "coo.lock", purpose="tick"):
        done = office.run("dispatch", TITLE, "--json")
    assert done.code == 1
    assert (done.json["status"], done.json["reason"]) == ("refused", "busy")
    assert re.search(r"coo is being served by pid \d+ \(tick\)", done.err)
    assert office.runs == []


@pytest.mark.parametrize(
    ("first", "reason", "advice"),
    [
        (("pause", "coo", "--why", "x"), "paused", "heartbeat resume coo"),
        (("hold", TITLE, "--for", "1h", "--why", "x"), "held", "--end"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(office: Office, first: tuple[str, ...], reason: str, advice: str) -> None:
    assert office.run(*first).code == 0
    done = office.run("dispatch", TITLE, "--json")
    assert (done.code, done.json["status"], done.json["reason"]) == (1, "refused", reason)
    assert advice in done.json["advice"]
    assert advice in done.err
    assert office.runs == []


def test_there_is_advice_for_every_reason_to_refuse() -> None:
    assert set(dispatched.ADVICE) == {reason.value for reason in Reason}


def test_S2_while_the_board_cannot_be_read_it_is_3_and_nothing_is_begun(office: Office) -> None:
    office.run("tick", "coo")
    (office.folder / "elsewhere").mkdir()
    told = heartbeat(
        "dispatch", TITLE, "--json", cwd=office.folder, OPENCLAW_GATEWAY_PORT="1", OPENCLAW_GATEWAY_TOKEN="x"
    )
    assert told.code == 3
    assert (told.json["status"], told.json["reason"]) == ("refused", "degraded")
    assert office.runs == office.runs[:1]


@pytest.mark.parametrize(
    "words",
    [
        ("dispatch", "BIZ-99"),
        ("dispatch", TITLE, "--as", "nobody"),
        ("dispatch", TITLE, "--wait", "--dry-run"),
        ("dispatch", TITLE, "--timeout", "5m"),
        ("dispatch", TITLE, "--wait", "--timeout", "soon"),
        ("abort", "hb-00"),
        ("attempts", "--agent", "nobody"),
        ("attempts", "BIZ-99"),
    ],
)
def test_a_wrong_call_is_2(office: Office, words: tuple[str, ...]) -> None:
    done = office.run(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("heartbeat: ")


def test_B3_a_dry_run_shows_the_claims_and_the_prompt_and_changes_nothing(office: Office) -> None:
    office.run("tick", "architect")
    before = tree(office.folder)
    shown = office.run("dispatch", TITLE, "--dry-run")
    told = office.run("dispatch", TITLE, "--dry-run", "--json")
    assert (shown.code, told.code) == (0, 0), told.err
    assert f"coo would be started on {office.card[:8]} {TITLE}" in shown.out
    assert f"claims    {office.card[:8]} on workboard, todo now" in shown.out
    assert (told.json["status"], told.json["provider"], told.json["dispatch"]) == ("planned", "native", None)
    assert told.json["prompt"].count(TITLE) == 1
    assert "heartbeat" in told.json["prompt"]
    assert tree(office.folder) == before
    assert (office.status(), office.runs) == ("todo", [])


def test_waiting_ends_with_the_turn(office: Office, at_once: list[float]) -> None:
    done = office.run("dispatch", TITLE, "--wait", "--json")
    assert done.code == 0, done.err
    ((attempt),) = done.json["attempts"]
    assert (done.json["status"], attempt["outcome"]) == ("completed", "completed")
    assert (attempt["input_tokens"], attempt["output_tokens"]) == (1200, 12)
    assert "attempt 1 completed" in done.err


def test_F1_F4_waiting_goes_on_to_the_next_provider_and_to_the_dead_letter(
    office: Office, at_once: list[float]
) -> None:
    office.roster(MANAGED)
    office.models(one=Behaviour.DENIED, two=Behaviour.DENIED)
    done = office.run("dispatch", TITLE, "--wait", "--json")
    assert done.code == 1
    assert done.json["status"] == "dead_letter"
    assert [(each["provider"], each["model"], each["outcome"]) for each in done.json["attempts"]] == [
        ("first", "one/m", "failed"),
        ("second", "two/m", "failed"),
    ]
    assert done.json["dead_letter"]["state"] == "waiting"
    assert "401" in done.json["error"]
    assert office.status() == "todo"
    office.models(one=Behaviour.ANSWERS, two=Behaviour.ANSWERS)
    refused = office.run("dispatch", TITLE, "--json")
    assert (refused.code, refused.json["reason"]) == (1, "breaker_open")
    assert refused.json["until"] is not None


def test_the_time_to_wait_ends_before_the_turn(office: Office) -> None:
    office.models(native=Behaviour.HELD)
    done = office.run("dispatch", TITLE, "--wait", "--timeout", "0.1s", "--json")
    assert (done.code, done.json["status"]) == (3, "running")
    assert office.gateway.turns.runs[office.runs[0]].status == "running"
    assert "the time to wait is over" in office.run("dispatch", TITLE, "--wait", "--timeout", "0.1s").err


def test_whoever_has_waited_enough_leaves_the_turn_running(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.models(native=Behaviour.HELD)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("heartbeat.cli.dispatch.wait_for", interrupted)
    done = office.run("dispatch", TITLE, "--wait", "--json")
    assert (done.code, done.json["status"]) == (130, "running")
    assert "the turn goes on" in done.err
    assert "--wait` waits for its end" in done.err
    assert office.gateway.turns.runs[office.runs[0]].status == "running"


def test_a_turn_that_goes_on_already_is_waited_for(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.models(native=Behaviour.HELD)
    office.run("dispatch", TITLE)
    monkeypatch.setattr("heartbeat.cli.dispatch.wait_for", lambda seconds: office.gateway.turns.let_go())
    done = office.run("dispatch", TITLE, "--wait", "--json")
    assert (done.code, done.json["status"], done.json["dispatch"]) == (0, "completed", office.runs[0])
    assert len(office.runs) == 1


def test_attempts_shows_what_runs_and_what_became_of_the_others(office: Office) -> None:
    assert "no turn" in office.run("attempts").out
    office.models(native=Behaviour.HELD)
    office.run("dispatch", TITLE)
    office.gateway.turns.let_go()
    office.run("tick", "architect")
    office.models(native=Behaviour.HELD)
    office.run("dispatch", TITLE)
    lines = office.run("attempts").out.splitlines()
    assert [run[:11] in line for run, line in zip(office.runs, lines, strict=False)] == [True, True]
    assert "completed in" in lines[0]
    assert "1,212 tokens" in lines[0]
    assert "running for" in lines[1]
    for name in (TITLE, office.card[:8], f"workboard:{office.card}"):
        assert len(office.run("attempts", name, "--json").json["attempts"]) == 2
    assert len(office.run("attempts", "--agent", "architect", "--json").json["attempts"]) == 0
    newest = office.run("attempts", "--limit", "1", "--json").json["attempts"]
    assert [each["attempt"] for each in newest] == [2]
    assert "earlier ones" in office.run("attempts", "--limit", "1").out
    assert len(office.run("attempts", "--limit", "1", "--all", "--json").json["attempts"]) == 2


def test_B3_attempts_and_explain_only_look(office: Office) -> None:
    office.models(native=Behaviour.HELD)
    office.run("dispatch", TITLE)
    before = tree(office.folder)
    assert office.run("attempts").code == 0
    assert office.run("explain", TITLE).code == 0
    assert tree(office.folder) == before


def test_X6_abort_stops_the_turn_and_gives_the_task_back(office: Office) -> None:
    office.models(native=Behaviour.HELD)
    office.run("dispatch", TITLE)
    run = office.runs[0]
    done = office.run("abort", run[:9], "--why", "wrong task", "--json")
    assert done.code == 0, done.err
    assert (done.json["result"], done.json["given_back"]) == ("stopped", True)
    assert (done.json["attempt"]["outcome"], done.json["attempt"]["cause"]) == ("aborted", "none")
    assert "wrong task" in done.json["attempt"]["error"]
    assert f"heartbeat hold {office.card[:8]} --for 2h" in done.json["advice"]
    assert office.gateway.turns.runs[run].status == "cancelled"
    assert office.status() == "todo"
    again = office.run("abort", run[:9])
    assert (again.code, again.out) == (1, "")
    assert "has ended already: aborted" in again.err


def test_an_abort_that_reaches_nobody_leaves_it_running_and_is_3(office: Office) -> None:
    office.models(native=Behaviour.HELD)
    office.run("dispatch", TITLE)
    gone = {**office.gateway.environment(), "OPENCLAW_GATEWAY_PORT": "1"}
    done = heartbeat("abort", office.runs[0], "--json", cwd=office.folder, **gone)
    assert (done.code, done.json["result"], done.json["given_back"]) == (3, "unsure", None)
    assert "may be running still" in done.err
    with open_store_read_only(office.folder / "state") as store:
        assert len(store.attempts(unfinished=True)) == 1


def test_an_abort_needs_no_providers(office: Office) -> None:
    office.models(native=Behaviour.HELD)
    office.run("dispatch", TITLE)
    office.roster("providers: missing.yaml\n")
    done = office.run("abort", office.runs[0])
    assert done.code == 0, done.err
    assert "missing.yaml" in done.err
    assert office.run("dispatch", TITLE).code == 2


def test_X1_explain_tells_the_turns_and_what_the_next_beat_would_do(office: Office) -> None:
    office.run("tick", "architect")
    before = office.run("explain", TITLE, "--json").json
    assert (before["turn"]["decision"], before["turn"]["provider"], before["attempts"]) == ("start", "native", [])
    assert any(each["about"] == "turn" for each in before["reasons"])
    other = office.run("explain", office.other[:8], "--json").json
    assert (other["turn"]["decision"], other["turn"]["reason"]) == ("none", "none")
    office.models(native=Behaviour.HELD)
    office.run("dispatch", TITLE)
    after = office.run("explain", TITLE, "--json").json
    assert (after["turn"]["decision"], after["turn"]["reason"]) == ("none", "busy")
    assert [each["dispatch"] for each in after["attempts"]] == office.runs
    assert "running for" in office.run("explain", TITLE).out


def test_explain_can_be_used_although_the_providers_cannot_be_read(office: Office) -> None:
    office.roster("providers: missing.yaml\n")
    done = office.run("explain", TITLE, "--json")
    assert done.code == 0
    assert "missing.yaml" in done.err
    assert done.json["turn"]["reason"] == "degraded"


def test_X1_a_beat_says_whom_it_started_in_every_form(office: Office) -> None:
    office.models(native=Behaviour.HELD)
    line = f"dispatch: would start {office.card[:8]} with native"
    for form in ("table", "md"):
        assert line in office.run("tick", "coo", "--dry-run", "--format", form).out
    dry = office.run("tick", "coo", "--dry-run", "--json").json
    assert (dry["dispatch"]["decision"], dry["dispatch"]["dispatch"]) == ("start", None)
    assert office.runs == []
    told = office.run("tick", "coo", "--scheduled").out
    assert f"dispatch: started {office.card[:8]} with native, {office.runs[0]}" in told
    again = office.run("tick", "coo", "--json").json
    assert (again["dispatch"]["decision"], again["dispatch"]["reason"]) == ("skip", "busy")
    office.gateway.turns.let_go()
    last = office.run("tick", "architect", "--format", "md").out
    assert f"dispatch: attempt 1 of coo on {office.card[:8]} completed" in last
    assert "dispatch: nothing" not in last, "architect is nobody whom heartbeat starts"
    assert "dispatch" in office.run("log").out
