"""Beats on a real Gateway's own schedule, and the fake scheduler checked against the real one (contract 4)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import UsageError
from heartbeat.install.base import Order, Piece, Style, Verb, changes
from heartbeat.install.openclaw import OpenclawTarget
from heartbeat.roster.load import load_roster
from heartbeat.roster.model import Roster
from heartbeat.schedule.launch import Launch
from heartbeat.store.opening import open_store_read_only
from heartbeat.store.port import Receipt
from tests.contract.automation_suite import AGENTS, member, order_of
from tests.contract.test_automations import everyone, verbs
from tests.real.automation_cases import ADMIN, RealAutomationCase, open_case
from tests.real.gateway import RealGateway
from tests.real.rpc import GatewayConnection, RpcError
from tests.real.session import silent_model
from tests.real.test_fakes_agree import anonymous, differences
from tests.real.turns import until
from tests.support.command import Result, heartbeat
from tests.support.fake_gateway import FakeGateway
from tests.support.openclaw_automation_cases import new_gateway
from tests.support.openclaw_board import KnownBoard
from tests.support.rosters import make_roster

pytestmark = pytest.mark.openclaw

PATIENCE = 60.0


@pytest.fixture
def case(tmp_path: Path) -> Iterator[RealAutomationCase]:
    with open_case(tmp_path, "gateway") as case:
        yield case


class Beating:
    """A team with a roster in a file and a state directory, whose beats OpenClaw starts."""

    def __init__(self, case: RealAutomationCase, every: str) -> None:
        self.case = case
        self.path = case.folder / "agents.yaml"
        self.state = case.folder / "state"
        agents = "".join(f"  {agent}: {{class: high_frequency, every: {every}, notify: []}}\n" for agent in AGENTS)
        self.path.write_text(
            f"version: 1\nstate: {self.state}\nsources:\n  workboard: {{transport: gateway}}\nagents:\n{agents}"
        )

    @property
    def roster(self) -> Roster:
        return load_roster(self.path, {})

    def order(self, style: Style = Style.EACH, *agents: str) -> Order:
        path = self.case.gateway.environment["PATH"]
        return Order(
            self.roster, Launch((sys.executable, "-m", "heartbeat"), self.path, self.state, path), style, agents
        )

    def install(self, style: Style = Style.EACH, *agents: str) -> dict[str, Verb]:
        target = OpenclawTarget(self.roster, self.case.environment)
        order = self.order(style, *agents)
        installed = target.installed(order.launch)
        return verbs(target.apply(changes(installed, target.wanted(order, installed))))

    def run(self, agent: str) -> dict[str, Any]:
        """Starts an agent's automation now, and gives what OpenClaw tells of the run when it has ended."""
        id_ = self.case.job(agent)["id"]
        run = self.case.call("cron.run", id=id_)["runId"]

        def ended() -> list[dict[str, Any]]:
            entries: list[dict[str, Any]] = self.case.call("cron.runs", id=id_, limit=20)["entries"]
            return [entry for entry in entries if entry["runId"] == run]

        until(lambda: bool(ended()), PATIENCE)
        (entry,) = ended()
        return entry

    def receipts(self, agent: str) -> Sequence[Receipt]:
        if not (self.state / "state.db").exists():
            return ()
        with open_store_read_only(self.state) as store:
            return store.receipts(agent)


def test_a_run_of_an_automation_is_a_beat_with_a_receipt_and_no_model_call(case: RealAutomationCase) -> None:
    team = Beating(case, "6h")
    asked = silent_model().requests
    assert team.install() == everyone(Verb.ADD)
    ended = team.run("coo")
    assert (ended["status"], ended["completionStatus"]) == ("ok", "succeeded"), ended
    (receipt,) = team.receipts("coo")
    assert receipt.outcome == "done", receipt
    assert [source["transport"] for source in receipt.sources if source["name"] == "workboard"] == ["gateway"]
    assert "coo" in ended["summary"]
    assert team.receipts("architect") == ()
    assert silent_model().requests == asked


def test_a_turn_costs_a_model_call(case: RealAutomationCase) -> None:
    team = Beating(case, "6h")
    team.install()
    assert team.install(Style.TURN) == everyone(Verb.CHANGE)
    asked = silent_model().requests
    id_ = case.job("coo")["id"]
    case.call("cron.run", id=id_)
    until(lambda: silent_model().requests > asked, PATIENCE)
    case.call("cron.remove", id=id_)
    until(lambda: bool(case.call("cron.runs", id=id_)["entries"]), PATIENCE)
    assert team.receipts("coo") == ()
    assert team.install() == {**everyone(Verb.CHANGE), "hb:coo": Verb.ADD}


def test_B2_openclaw_starts_the_beats_at_the_agents_own_slots(case: RealAutomationCase) -> None:
    team = Beating(case, "6s")
    every = timedelta(seconds=6)
    team.install()
    until(lambda: all(len(team.receipts(agent)) >= 2 for agent in AGENTS), PATIENCE)
    for agent in team.roster.agents.values():
        slots = [receipt.slot for receipt in team.receipts(agent.id)]
        epoch = datetime.fromtimestamp(0, UTC) + agent.policy.anchor
        assert None not in slots, "every beat had a slot of its own"
        assert all((slot - epoch) % every == timedelta(0) for slot in slots if slot is not None)
        for receipt in team.receipts(agent.id):
            assert receipt.slot is not None
            assert timedelta(0) <= receipt.started_at - receipt.slot < every


def test_automations_outlast_their_gateway(running: tuple[RealGateway, KnownBoard], tmp_path: Path) -> None:
    gateway, _ = running
    roster = make_roster(*map(member, AGENTS), path=tmp_path / "agents.yaml", state=tmp_path / "state")
    order = order_of(roster)

    def look() -> tuple[OpenclawTarget, tuple[Piece, ...]]:
        target = OpenclawTarget(roster, gateway.environment)
        return target, target.installed(order.launch)

    target, installed = look()
    assert verbs(target.apply(changes(installed, target.wanted(order, installed)))) == everyone(Verb.ADD)
    gateway.stop()
    with pytest.raises(
        UsageError, match=r"cannot be used: .*Gateway not reachable at .*; before that: nothing answers"
    ):
        look()
    gateway.start()
    target, installed = look()
    kept = changes(installed, target.wanted(order, installed))
    assert [change.verb for change in kept] == [Verb.KEEP] * len(AGENTS)
    assert verbs(target.apply(changes(installed, target.without(order, installed)))) == everyone(Verb.REMOVE)


def test_the_command_installs_shows_compares_and_removes(case: RealAutomationCase) -> None:
    team = Beating(case, "6h")
    bare = {**case.environment, "PATH": str(case.gateway.installation.bin_directory)}  # no crontab, no systemd

    def cron(*words: str) -> Result:
        return heartbeat("--roster", team.path, "cron", *words, "--target", "openclaw", cwd=case.folder, **bare)

    planned = cron("install", "--dry-run")
    assert (planned.code, case.jobs()) == (0, {}), planned.err
    assert '+  "declarationKey": "hb:coo",' in planned.out
    installed = cron("install")
    assert installed.code == 0, installed.err
    assert installed.out.splitlines() == [f"openclaw: hb:{agent}: added" for agent in AGENTS]
    assert "--target crontab --watchdog-only" in installed.err
    assert team.run("secretary")["status"] == "ok"
    assert len(team.receipts("secretary")) == 1
    assert "each; everybody" in cron("show").out
    assert cron("diff").code == 0
    case.edit("coo", name="mine")
    difference = cron("diff")
    assert difference.code == 1
    assert '-  "name": "mine",' in difference.out
    assert cron("install").out.splitlines() == ["openclaw: hb:coo: changed"]
    assert cron("remove", "coo").code == 0
    assert case.jobs().keys() == {"hb:architect", "hb:secretary"}
    assert cron("remove").code == 0
    assert case.jobs() == {}


def test_over_the_command_line_all_is_the_same(tmp_path: Path) -> None:
    with open_case(tmp_path, "cli") as case:
        roster = case.team(member("coo"), member("nobody"))
        added, refused = case.install(roster)
        assert (added.error, added.change.verb) == ("", Verb.ADD)
        assert "cron job agent is unavailable: nobody" in refused.error
        assert "openclaw agents add nobody" in refused.advice
        edited = case.edit("coo", name="mine", payload={"kind": "command", "noOutputTimeoutSeconds": 5})
        roster = case.team(member("coo"))
        assert verbs(case.install(roster)) == {"hb:coo": Verb.CHANGE}
        assert case.job("coo")["configRevision"] != edited["configRevision"]
        target, planned = case.planned(case.team(member("coo", timedelta(minutes=15))))
        case.edit("coo", name="mine")
        (conflict,) = target.apply(planned)
        assert "no longer matches the loaded version" in conflict.error
        assert verbs(case.remove(roster)) == {"hb:coo": Verb.REMOVE}
        assert case.jobs() == {}


# The fake, checked against the real one

Call = Callable[[str, Mapping[str, Any]], Any]

EVERY = {"kind": "every", "everyMs": 3_600_000, "anchorMs": 60_000}
CRON = {"kind": "cron", "expr": "3-59/10 * * * *", "tz": "UTC", "staggerMs": 0}
COMMAND = {"kind": "command", "argv": ["/bin/true"], "cwd": "/tmp", "env": {"A": "b"}, "timeoutSeconds": 60}
TURN = {"kind": "agentTurn", "message": "hi", "lightContext": True}
JOB: dict[str, Any] = {
    "name": "hb-coo",
    "declarationKey": "hb:coo",
    "agentId": "coo",
    "description": " beats ",
    "enabled": True,
    "schedule": CRON,
    "sessionTarget": "isolated",
    "wakeMode": "now",
    "payload": COMMAND,
    "delivery": {"mode": "none"},
}


def add(**changes: Any) -> tuple[str, dict[str, Any]]:
    """The job; a change to None leaves the field out."""
    return "cron.add", {name: value for name, value in {**JOB, **changes}.items() if value is not None}


def update(revision: str | None = None, **patch: Any) -> tuple[str, dict[str, Any]]:
    expected = {} if revision is None else {"expectedConfigRevision": revision}
    return "cron.update", {"id": "{id}", "patch": patch, **expected}


STALE = "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
STEPS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "the same again": [add(), add()],
    "another schedule": [add(), add(schedule=EVERY), add(schedule={**EVERY, "anchorMs": 0})],
    "an interval from now on": [add(schedule={"kind": "every", "everyMs": 60_000})],
    "the full hour": [add(schedule={"kind": "cron", "expr": "0 * * * *"}), add(schedule={**CRON, "expr": "0 * * * *"})],
    "a command becomes a turn": [add(), add(payload=TURN), add()],
    "a command becomes a turn by update": [add(), update(payload=TURN), update(payload=COMMAND), add()],
    "a turn with a model": [add(payload=TURN), update(payload={"kind": "agentTurn", "model": "m"}), add(payload=TURN)],
    "a turn with few tools": [
        add(payload=TURN),
        update(payload={"kind": "agentTurn", "toolsAllow": ["exec"]}),
        add(payload={**TURN, "message": "ho"}),
    ],
    "what is not converged": [add(), add(name="other", description="other", wakeMode="next-heartbeat")],
    "a display name": [add(), add(displayName="心跳"), add()],
    "delivery": [
        add(),
        update(delivery={"mode": "announce", "channel": "telegram", "to": "1"}),
        update(delivery={"mode": "none"}),
        add(),
    ],
    "no delivery said": [add(delivery=None)],
    "limits": [add(), update(payload={"kind": "command", "noOutputTimeoutSeconds": 5, "input": "x"}), add()],
    "a condition": [add(), update(trigger={"script": "json({fire: true})"}), update(trigger=None), add()],
    "a pace": [add(), update(pacing={"min": "1h"}), update(pacing=None)],
    "an alert": [add(), update(failureAlert={"after": 3}), add(), update(failureAlert=None)],
    "switched off": [add(), update(enabled=False), add(enabled=None), add()],
    "made switched off": [add(enabled=False), add(enabled=None), update(enabled=True)],
    "many at once": [
        add(),
        update(name="n", description="", schedule=EVERY, sessionTarget="session:x", wakeMode="next-heartbeat"),
        add(),
    ],
    "another owner": [add(), update(agentId="architect"), update(agentId="nobody")],
    "a stale edit": [add(), update(STALE, name="x"), update("{revision}", name="x"), update("{revision}", name="y")],
    "nothing": [add(), update()],
    "what is not known": [
        add(foo=1),
        add(),
        update(foo=1),
        ("cron.update", {"patch": {}}),
        ("cron.update", {"id": "nope", "patch": {}}),
        ("cron.remove", {"id": "nope"}),
        ("cron.remove", {"id": "{id}", "foo": 1}),
        ("cron.remove", {}),
        ("cron.run", {"id": "nope"}),
        ("cron.runs", {"id": "nope"}),
        ("cron.get", {"id": "nope"}),
        ("cron.list", {"foo": 1}),
        ("cron.list", {"limit": 0}),
        ("cron.list", {"limit": 201}),
        ("cron.runs", {"id": "{id}", "foo": 1}),
    ],
    "what is refused": [
        add(declarationKey="heartbeat:coo"),
        add(declarationKey="skill-collection-review:coo"),
        add(declarationKey=" "),
        add(declarationKey="hb:" + "x" * 200),
        add(agentId="nobody"),
        add(enabled="maybe"),
        add(schedule={"kind": "cron", "expr": "61 * * * *", "tz": "UTC"}),
        add(schedule={"kind": "cron", "expr": "1 * * * *", "tz": "Mars/X"}),
        add(schedule={"kind": "cron"}),
        add(payload={**COMMAND, "foo": 1}),
        add(sessionTarget="main"),
    ],
    "removed": [add(), ("cron.remove", {"id": "{id}"}), ("cron.remove", {"id": "{id}"}), add()],
    "given out": [add(), ("cron.get", {"id": "{id}"})],
}
"""What is done, one after the other; `{id}` and `{revision}` are those of the automation that was told last."""

_MOMENTARY = frozenset({"state", "lastRunAtMs", "lastRunStatus"})


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeGateway]:
    with new_gateway() as gateway:
        yield gateway


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS.keys())
def test_a_fake_keeps_automations_as_the_real_one(
    case: RealAutomationCase, fake: FakeGateway, steps: list[tuple[str, dict[str, Any]]]
) -> None:
    fake.automations.jobs.clear()
    with GatewayConnection(fake.url, fake.token, scopes=ADMIN) as connection:
        imitated = told(connection.call, steps)
    real = told(lambda method, parameters: case.call(method, **parameters), steps)
    different = differences(imitated, real)
    assert not different, "\n".join(different)


def told(call: Call, steps: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """What each step answers, without what differs between two runs. Revisions become numbers in the order in which
    they were first seen, so that equal ones stay equal."""
    names: dict[str, str] = {STALE: "stale"}
    known = {"{id}": "", "{revision}": ""}
    answers = []
    for method, parameters in steps:
        asked = {
            name: known.get(value, value) if isinstance(value, str) else value for name, value in parameters.items()
        }
        try:
            answer = call(method, asked)
        except RpcError as refused:
            answer = dict(refused.error)
        job = answer.get("job", answer)
        if "configRevision" in job:
            known = {"{id}": job["id"], "{revision}": job["configRevision"]}
            names.setdefault(job["id"], f"job {len(names)}")
            names.setdefault(job["configRevision"], f"revision {len(names)}")
        answers.append(_plain(anonymous(answer, names), names))
    return answers


def _plain(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(entry, names) for name, entry in value.items() if name not in _MOMENTARY}
    if isinstance(value, str):
        for long, short in names.items():
            value = value.replace(long, short)
    return value


def test_a_fake_lists_automations_as_the_real_one(case: RealAutomationCase, fake: FakeGateway) -> None:
    fake.automations.jobs.clear()
    with GatewayConnection(fake.url, fake.token, scopes=ADMIN) as connection:
        imitated = pages(connection.call)
    real = pages(lambda method, parameters: case.call(method, **parameters))
    assert imitated == real


def pages(call: Call) -> list[Any]:
    """How a list of three comes by two, of which one is switched off."""
    for agent in AGENTS:
        call("cron.add", {**JOB, "name": f"hb-{agent}", "declarationKey": f"hb:{agent}", "agentId": agent})
    common = {"sortBy": "name", "query": "hb-", "limit": 2}
    off = call("cron.list", common)["jobs"][0]
    call("cron.update", {"id": off["id"], "patch": {"enabled": False}})
    listed = [
        call("cron.list", {**common, "includeDisabled": True}),
        call("cron.list", {**common, "includeDisabled": True, "offset": 2, "includeDeliveryPreviews": False}),
        call("cron.list", common),
        call("cron.list", {**common, "agentId": "coo", "sortDir": "desc"}),
        call("cron.list", {"offset": 7, "query": "hb-"}),
    ]
    same = len({page["snapshotRevision"] for page in listed[:2]}) == 1
    previews = [sorted(preview["label"] for preview in page.get("deliveryPreviews", {}).values()) for page in listed]
    plain = [
        {name: value for name, value in page.items() if name not in ("jobs", "snapshotRevision", "deliveryPreviews")}
        | {"names": [(job["name"], job["effectiveAgentId"], job["enabled"]) for job in page["jobs"]]}
        for page in listed
    ]
    return [same, previews, plain]


def test_both_want_an_administrator(case: RealAutomationCase, fake: FakeGateway) -> None:
    for method in ("cron.add", "cron.update", "cron.remove", "cron.run"):
        refusals = []
        for connection in (GatewayConnection(fake.url, fake.token), case.gateway.connect()):
            with connection, pytest.raises(RpcError) as refused:
                connection.call(method, {"id": "x"})
            refusals.append(refused.value.error)
        assert refusals[0] == {name: value for name, value in refusals[1].items() if name in refusals[0]}
