"""OpenClaw's automations when the Gateway is away, loses answers, refuses or talks nonsense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.errors import UsageError
from heartbeat.install.base import Applied, Verb
from heartbeat.install.openclaw import OpenclawTarget
from heartbeat.install.standing import AbsentError
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.openclaw.automations import Automations, open_automations
from heartbeat.systems.openclaw.gateway import ADMIN
from tests.contract.automation_suite import AGENTS, member, order_of
from tests.support.fake_gateway import FakeGateway, Trouble
from tests.support.fake_openclaw import FakeOpenClaw, Reach
from tests.support.openclaw_automation_cases import FakeAutomationCase, gateway_case, new_gateway, program_case


@pytest.fixture(params=[gateway_case, program_case], ids=["gateway", "cli"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeAutomationCase]:
    with request.param(tmp_path) as case:
        yield case


@pytest.fixture
def by_socket(tmp_path: Path) -> Iterator[FakeAutomationCase]:
    with gateway_case(tmp_path) as case:
        yield case


def outcome(applied: tuple[Applied, ...]) -> list[tuple[Verb, str]]:
    return [(each.change.verb, each.error) for each in applied]


def looked(case: FakeAutomationCase, environment: Mapping[str, str]) -> UsageError:
    """What is said to somebody who looks."""
    roster = case.team()
    with pytest.raises(UsageError) as told:
        OpenclawTarget(roster, environment).installed(order_of(roster).launch)
    return told.value


def test_L4_a_lost_answer_is_no_failure_where_the_effect_is_seen(case: FakeAutomationCase) -> None:
    case.gateway.losing = 1
    assert outcome(case.install(case.team())) == [(Verb.ADD, "")] * len(AGENTS)
    case.edit("coo", name="mine")
    case.gateway.losing = 1
    assert outcome(case.install(case.team()))[0] == (Verb.CHANGE, "")
    case.gateway.losing = 1
    assert outcome(case.remove(case.team())) == [(Verb.REMOVE, "")] * len(AGENTS)
    assert case.jobs() == {}


def test_L4_what_came_of_it_is_not_guessed_where_nobody_can_look(by_socket: FakeAutomationCase) -> None:
    case, roster = by_socket, by_socket.team()
    target, planned = case.planned(roster)

    def fall_silent() -> None:
        case.gateway.trouble = Trouble.DROPPED

    case.gateway.meanwhile = fall_silent
    applied = target.apply(planned)
    assert [each.change.verb for each in applied] == [Verb.ADD] * len(AGENTS)
    assert all(each.error.startswith("it is not known what came of it: ") for each in applied)
    case.gateway.trouble = None
    assert case.jobs().keys() == {"hb:coo"}
    again = case.install(roster)
    assert outcome(again) == [(Verb.KEEP, ""), (Verb.ADD, ""), (Verb.ADD, "")]


def test_an_installation_that_openclaw_carries_out_otherwise_is_told(by_socket: FakeAutomationCase) -> None:
    case, roster = by_socket, by_socket.team(member("coo"))
    target, planned = case.planned(roster)
    add = case.gateway.automations.methods["cron.add"]

    def meddle(params: dict[str, object]) -> object:
        return add.handle({**params, "wakeMode": "next-heartbeat"})

    case.gateway.automations.methods["cron.add"] = type(add)(add.scope, meddle, writes=True)
    (applied,) = target.apply(planned)
    assert applied.error == "OpenClaw keeps it otherwise than asked"
    assert "heartbeat cron diff" in applied.advice


def test_where_nothing_is_to_be_done_nobody_is_asked(by_socket: FakeAutomationCase) -> None:
    by_socket.install(by_socket.team())
    target, planned = by_socket.planned(by_socket.team())
    before = len(by_socket.gateway.calls)
    assert outcome(target.apply(planned)) == [(Verb.KEEP, "")] * len(AGENTS)
    assert len(by_socket.gateway.calls) == before


def test_what_openclaw_switched_off_after_ten_failures_runs_again(case: FakeAutomationCase) -> None:
    case.install(case.team())
    case.gateway.automations.fail(case.gateway.automations.named("hb:coo"), 10)
    target, planned = case.planned(case.team())
    assert [change.verb for change in planned] == [Verb.CHANGE, Verb.KEEP, Verb.KEEP]
    before = planned[0].before
    assert before is not None
    assert '"enabled": "switched off by OpenClaw after 10 consecutive-failures"' in before.text
    assert outcome(target.apply(planned)) == [(Verb.CHANGE, ""), (Verb.KEEP, ""), (Verb.KEEP, "")]
    job = case.job("coo")
    assert job["enabled"] is True
    assert job["state"]["consecutiveErrors"] == 0


def test_a_gateway_that_is_down_is_told_with_its_address(by_socket: FakeAutomationCase) -> None:
    by_socket.gateway.stop()
    told = looked(by_socket, by_socket.environment)
    assert str(told).startswith("OpenClaw's automations cannot be used: nothing answers at ws://127.0.0.1:")
    assert "start the Gateway" in told.advice


def test_where_there_is_no_trace_of_openclaw_nothing_is_waited_for(tmp_path: Path) -> None:
    roster = FakeAutomationCase(tmp_path, new_gateway(), "auto", {}).team()
    target = OpenclawTarget(roster, {"HOME": str(tmp_path), "PATH": str(tmp_path)})
    with pytest.raises(AbsentError, match=r"no Gateway is configured .*; no program openclaw on the PATH"):
        target.installed(order_of(roster).launch)


def test_R4_a_wrong_token_is_told_and_not_shown(by_socket: FakeAutomationCase) -> None:
    told = looked(by_socket, {**by_socket.environment, "OPENCLAW_GATEWAY_TOKEN": "wrong-secret"})
    assert "token mismatch" in str(told)
    assert "wrong-secret" not in f"{told} {told.advice}"
    by_socket.gateway.trouble = Trouble.TELLTALE
    assert by_socket.gateway.token not in str(looked(by_socket, by_socket.environment))


def test_who_is_not_made_an_administrator_changes_nothing(by_socket: FakeAutomationCase) -> None:
    target, planned = by_socket.planned(by_socket.team())
    by_socket.gateway.grants = frozenset({"operator.read", "operator.write"})
    with pytest.raises(UsageError, match="does not let us administer it") as told:
        target.apply(planned)
    assert "on the Gateway's own machine" in told.value.advice
    assert by_socket.jobs() == {}


@pytest.mark.parametrize("trouble", [Trouble.NO_CARDS, Trouble.WRONG_SHAPE, Trouble.CUT, Trouble.EMPTY])
def test_nonsense_is_no_empty_schedule(by_socket: FakeAutomationCase, trouble: Trouble) -> None:
    by_socket.install(by_socket.team())
    by_socket.gateway.trouble = trouble
    assert "cannot be used" in str(looked(by_socket, by_socket.environment))


def both_ways(folder: Path, gateway: FakeGateway, program: FakeOpenClaw) -> FakeAutomationCase:
    environment = {**gateway.environment(), **program.environment(folder)}
    return FakeAutomationCase(folder, gateway, "auto", environment)


def test_S1a_what_the_socket_cannot_reach_goes_through_the_command_line(tmp_path: Path) -> None:
    gateway, program = new_gateway(), FakeOpenClaw(tmp_path)
    with gateway, program.connected(gateway):
        case = both_ways(tmp_path, gateway, program)
        gateway.stop()
        assert outcome(case.install(case.team())) == [(Verb.ADD, "")] * len(AGENTS)
        assert case.jobs().keys() == {f"hb:{agent}" for agent in AGENTS}
        assert {run["argv"][2] for run in program.runs()} == {"cron.list", "cron.add"}


def test_S1a_where_neither_way_leads_anywhere_both_are_told(tmp_path: Path) -> None:
    gateway, program = new_gateway(), FakeOpenClaw(tmp_path)
    with gateway:
        case = both_ways(tmp_path, gateway, program)
        gateway.stop()
        program.order(reach=Reach.DOWN)
        told = str(looked(case, case.environment))
    assert "`openclaw gateway call cron.list`: Gateway not reachable" in told
    assert "before that: nothing answers at" in told


def listed(case: FakeAutomationCase) -> list[str]:
    with open_automations(case.team().sources["workboard"], case.environment) as automations:
        return [str(job["name"]) for job in automations.listed()]


@pytest.mark.parametrize("count", [0, 1, 200, 201, 450])
def test_S3_every_page_of_the_list_is_read(by_socket: FakeAutomationCase, count: int) -> None:
    fill(by_socket, count)
    assert len(set(listed(by_socket))) == count


def test_S3_a_list_that_changes_between_two_pages_is_read_again(by_socket: FakeAutomationCase) -> None:
    fill(by_socket, 250)
    by_socket.gateway.automations.after_page = lambda: fill(by_socket, 1, "earlier")
    assert len(set(listed(by_socket))) == 251


def test_S3_one_that_goes_and_one_that_comes_between_two_pages_are_no_same_list(by_socket: FakeAutomationCase) -> None:
    """The number stays, every id is there once, and the one that moved up to the first page is missed."""
    fill(by_socket, 250)
    automations = by_socket.gateway.automations

    def change() -> None:
        del automations.jobs[next(iter(automations.jobs))]
        fill(by_socket, 1, "later")

    automations.after_page = change
    names = listed(by_socket)
    assert (len(set(names)), "job 200" in names, "job 000" in names) == (250, True, False)


@pytest.mark.parametrize(
    "page",
    [
        {"jobs": [{"id": "a"}], "hasMore": True, "total": 2},
        {"jobs": [{"id": "a"}, {"id": "a"}], "hasMore": False, "total": 2},
        {"jobs": [{"id": "a"}], "hasMore": False, "total": 2},
        {"jobs": [], "hasMore": True, "total": 2},
    ],
)
def test_S3_pages_that_do_not_come_to_the_whole_are_no_list(page: dict[str, object]) -> None:
    with pytest.raises(TransportError, match="changed each of the 3 times"):
        Automations(lambda method, parameters: page).listed()


def test_S3_a_list_that_keeps_changing_is_no_list(by_socket: FakeAutomationCase) -> None:
    fill(by_socket, 250)
    automations = by_socket.gateway.automations

    def restless() -> None:
        fill(by_socket, 1, f"earlier {len(automations.jobs)}")
        automations.after_page = restless

    automations.after_page = restless
    with pytest.raises(TransportError, match="changed each of the 3 times") as told:
        listed(by_socket)
    assert told.value.kind is FailureKind.INCOMPLETE


def fill(case: FakeAutomationCase, count: int, name: str = "job") -> None:
    for number in range(count):
        case.gateway.automations.put(
            name=f"{name} {number:03}",
            agentId="coo",
            schedule={"kind": "every", "everyMs": 60_000, "anchorMs": 0},
            payload={"kind": "command", "argv": ["/bin/true"]},
        )


@pytest.mark.parametrize("answer", [None, [], {}, {"job": None}, {"job": {"name": "x"}}, {"ok": True}])
def test_an_answer_without_an_automation_leaves_open_what_was_done(answer: object) -> None:
    with pytest.raises(TransportError, match=r"answered cron\.add with something else") as told:
        Automations(lambda method, parameters: answer).add({"name": "x"})
    assert told.value.outcome_unknown


@pytest.mark.parametrize(
    "answer", [{"ok": True, "ran": False, "reason": "already-running"}, None, {"runId": 7}], ids=str
)
def test_a_run_that_did_not_begin_is_told(answer: object) -> None:
    with pytest.raises(TransportError, match="did not start the automation abc"):
        Automations(lambda method, parameters: answer).run("abc")


def test_administration_is_asked_for_only_to_administer(by_socket: FakeAutomationCase) -> None:
    with open_automations(by_socket.team().sources["workboard"], by_socket.environment, ADMIN) as automations:
        automations.listed()
    assert by_socket.scopes() == {("operator.admin",)}


def test_L6_two_installations_at_once_do_not_undo_each_other(by_socket: FakeAutomationCase) -> None:
    case, slow, fast = by_socket, by_socket.team(member("coo")), by_socket.team(member("coo", timedelta(minutes=15)))
    target, planned = case.planned(slow)
    same, planned_too = case.planned(slow)
    case.install(fast)
    (refused,) = target.apply(planned)
    assert "somebody else has installed it meanwhile" in refused.error
    assert case.job("coo")["schedule"]["expr"] == "7-59/15 * * * *"
    case.remove(fast)
    case.install(slow)
    assert outcome(same.apply(planned_too)) == [(Verb.ADD, "")]
