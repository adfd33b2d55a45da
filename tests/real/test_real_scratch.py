"""What only a real OpenClaw can prove of its monitors: what they read, what `openclaw doctor --fix` does to our files,
and that the fake keeps scratches as the real one does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from heartbeat.deadline import Deadline
from heartbeat.systems.openclaw.gateway import ADMIN, READ
from heartbeat.systems.openclaw.scratch import installed_version, open_scratches
from heartbeat.systems.writing import ConflictError
from tests.contract.scratch_suite import AGENTS
from tests.real.gateway import RealGateway
from tests.real.install import install_openclaw
from tests.real.rpc import GatewayConnection, RpcError
from tests.real.scratch_cases import (
    EVERY,
    RealScratchCase,
    gateway_case,
    monitored,
    monitors,
    wait_for_monitors,
    with_heartbeats,
)
from tests.real.test_fakes_agree import anonymous, differences
from tests.real.turns import until
from tests.support.command import Result, heartbeat
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_scratch import plug_in

pytestmark = pytest.mark.openclaw

SPARE = AGENTS[-1]
"""Whose scratch nothing else here writes."""
PATIENCE = 300.0
"""For one run of `openclaw doctor`, which takes 7 s on a quiet machine and 70 s on a busy one."""


@pytest.fixture
def case(tmp_path: Path) -> Iterator[RealScratchCase]:
    with gateway_case(tmp_path) as case:
        yield case


def run_monitor(case: RealScratchCase, agent: str) -> dict[str, Any]:
    """One poll, now; what came of it."""
    identifier = case.monitor(agent)["id"]
    run = case.call("cron.run", id=identifier, mode="force")["runId"]

    def ended() -> list[dict[str, Any]]:
        entries = case.call("cron.runs", id=identifier)["entries"]
        return [entry for entry in entries if entry["runId"] == run]

    until(lambda: bool(ended()), 120.0)
    return ended()[0]


def test_a_poll_puts_our_text_before_the_model(case: RealScratchCase) -> None:
    _, model = monitored()
    case.render("coo")
    before = len(model.prompts)
    ended = run_monitor(case, "coo")
    assert (ended["status"], ended["summary"]) == ("ok", "heartbeat completed")
    (prompt,) = model.prompts[before:]
    assert f"Heartbeat monitor scratch:\n{case.text('coo').strip()}" in prompt


def test_B7_a_scratch_that_says_nothing_is_no_turn_at_all(case: RealScratchCase) -> None:
    _, model = monitored()
    case.put("coo", "# 心跳\n\n<!-- heartbeat:begin -->\n<!-- heartbeat:end -->\n")
    before = len(model.prompts)
    ended = run_monitor(case, "coo")
    assert (ended["status"], ended["error"]) == ("skipped", "heartbeat skipped: empty-heartbeat-file")
    assert model.prompts[before:] == []


def test_only_scratches_need_an_administrator(case: RealScratchCase) -> None:
    case.plan("coo")
    greetings = [request for request in case.wiretap.requests if request["method"] == "connect"]
    assert [greeting["params"]["scopes"] for greeting in greetings] == [[READ], [ADMIN]]
    gateway, _ = monitored()
    with gateway.connect() as connection, pytest.raises(RpcError, match=r"missing scope: operator\.admin"):
        connection.call("cron.scratch.get", {"id": case.monitor("coo")["id"]})


def test_over_the_command_line_a_scratch_is_read_compared_and_written(case: RealScratchCase) -> None:
    settings = {"transport": "cli"}
    assert installed_version(settings, case.environment, Deadline.after(60)) == "2026.9.6"
    with open_scratches(settings, case.environment, Deadline.after(120)) as scratches:
        monitor = scratches.monitors()["coo"]
        standing = scratches.read(monitor)
        written = scratches.write(monitor, case.text("coo"), standing.revision)
        assert (written.content, written.revision) == (case.text("coo"), standing.revision + 1)
        with pytest.raises(ConflictError):
            scratches.write(monitor, "too late", standing.revision)
        assert scratches.read(monitor).content == case.text("coo")


# The fake

Call = Callable[[str, Mapping[str, Any]], Any]

STEPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("get", {}),
    ("set", {"content": None, "expectedRevision": 0}),
    ("set", {"content": "一\r\n二", "expectedRevision": 0}),
    ("get", {}),
    ("set", {"content": "三", "expectedRevision": 0}),
    ("set", {"content": "三"}),
    ("set", {"content": "字" * 100_000, "expectedRevision": 2}),
    ("set", {"content": None, "expectedRevision": 2}),
    ("get", {}),
    ("set", {"content": "", "expectedRevision": 3}),
    ("set", {"content": "x", "expectedRevision": -1}),
    ("get", {"expectedRevision": 1}),
    ("get", {"id": "nobody"}),
    ("set", {"id": "nobody", "content": "x", "expectedRevision": 0}),
)


def story(connection: GatewayConnection) -> list[Any]:
    """What the steps come to on a monitor whose scratch was never written, without what differs from run to run."""
    job = monitors(connection)[SPARE]
    told = []
    for method, params in STEPS:
        try:
            answer: Any = connection.call(f"cron.scratch.{method}", {"id": job["id"], **params})
        except RpcError as refused:
            answer = {name: refused.error[name] for name in ("code", "message", "details") if name in refused.error}
        told.append(anonymous(answer, {job["id"]: "the monitor"}))
    return told


@pytest.fixture(scope="module")
def fresh() -> Iterator[RealGateway]:
    """A Gateway whose scratches nobody has written, and which may be stopped."""
    gateway = RealGateway(install_openclaw(), AGENTS)
    with_heartbeats(gateway, dict.fromkeys(AGENTS, EVERY))
    with gateway:
        wait_for_monitors(gateway, AGENTS)
        yield gateway


def test_the_fake_keeps_scratches_as_the_real_one_does(fresh: RealGateway) -> None:
    with FakeGateway(FakeBoard(SteppingClock(int(time.time() * 1000))), agents=AGENTS) as fake:
        plug_in(fake, *AGENTS)
        with GatewayConnection(fake.url, fake.token, scopes=(ADMIN,)) as connection:
            imitated, monitor = story(connection), monitors(connection)[SPARE]
    with fresh.connect(scopes=(ADMIN,)) as connection:
        real, real_monitor = story(connection), monitors(connection)[SPARE]
    steps = zip(STEPS, imitated, real, strict=True)
    told = [f"{method} {str(params)[:60]} {line}" for (method, params), *pair in steps for line in differences(*pair)]
    assert not told, "\n".join(told)
    assert monitor.keys() - {"state"} == real_monitor.keys() - {"state"}


# What becomes of a file

ROSTER = """version: 1
timezone: UTC
state: state
sources:
  workboard: {transport: gateway}
agents:
"""
AGENT = "  {name}: {{class: business, workspace: {workspace}, notify: [creator]}}\n"


class Operator:
    """A person with a roster, at the Gateway's machine."""

    def __init__(self, folder: Path, gateway: RealGateway, agents: tuple[str, ...]) -> None:
        self.folder = folder
        self.gateway = gateway
        lines = (AGENT.format(name=name, workspace=gateway.workspace(name)) for name in agents)
        (folder / "agents.yaml").write_text(ROSTER + "".join(lines), encoding="utf-8")

    def file(self, agent: str) -> Path:
        return self.gateway.workspace(agent) / "HEARTBEAT.md"

    def run(self, *words: str) -> Result:
        return heartbeat(*words, cwd=self.folder, **self.gateway.environment)

    def changes_the_rounds(self) -> None:
        path = self.folder / "agents.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace("class: business", "class: business, max_rounds: 9"))

    def checks(self, agent: str) -> list[dict[str, Any]]:
        """What the doctor says about the agent's instructions."""
        checks = [each for each in self.run("doctor", "--json").json["checks"] if each["area"] == agent]
        return [each for each in checks if each["subject"] in ("HEARTBEAT.md", "monitor scratch")]

    def mends_openclaw(self) -> None:
        """`openclaw doctor --fix`, for which the Gateway must be down."""
        self.gateway.stop()
        done = subprocess.run(
            [self.gateway.installation.launcher, "doctor", "--fix", "--non-interactive"],
            env=self.gateway.environment,
            cwd=self.gateway.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr
        self.gateway.start()
        wait_for_monitors(self.gateway, AGENTS)


def test_a_file_that_the_real_doctor_takes_is_recognised_and_its_scratch_goes_on(
    fresh: RealGateway, tmp_path: Path
) -> None:
    with fresh.connect(scopes=(ADMIN,)) as connection:
        job = monitors(connection)["architect"]["id"]
        connection.call("cron.scratch.set", {"id": job, "content": "- 看邮箱\n"})
    operator = Operator(tmp_path, fresh, ("coo", "architect", "secretary"))
    assert operator.run("render", "--all").code == 0
    assert operator.run("render", "secretary", "--sink", "scratch").code == 0
    text = operator.file("coo").read_bytes()
    warned = {each["message"] for each in operator.checks("coo") if each["level"] == "note"}
    assert warned == {"the next `openclaw doctor --fix` moves it into the scratch of the agent's monitor"}
    operator.mends_openclaw()
    assert {agent: operator.file(agent).exists() for agent in ("coo", "architect", "secretary")} == {
        "coo": False,
        "architect": True,
        "secretary": False,
    }, "taken: what the scratch lacked or held already; left: what differs from it"

    (taken,) = operator.checks("coo")
    assert (taken["level"], taken["subject"]) == ("note", "HEARTBEAT.md")
    assert "`openclaw doctor --fix` took it away" in taken["message"]
    assert "the monitor's scratch holds the same, and is up to date" in taken["message"]
    copy = next((fresh.state_directory / "backups" / "heartbeat-migration").glob("coo-*.md"))
    assert str(copy) in taken["message"]
    assert copy.read_bytes() == text
    check = operator.run("render", "coo", "--check")
    assert (check.code, "took it away" in check.out) == (1, True)
    assert operator.run("render", "coo", "--sink", "scratch", "--check").code == 0

    operator.changes_the_rounds()
    (older,) = operator.checks("coo")
    assert older["level"] == "warning"
    assert "the monitor's scratch has its text, out of date" in older["message"]
    done = operator.run("render", "coo", "--sink", "scratch")
    assert (done.code, done.out.split(",")[0]) == (0, "monitor scratch of coo: updated")
    assert operator.run("render", "coo", "--sink", "scratch", "--check").code == 0
    assert operator.run("render", "coo", "--stdout").out in _content(fresh, "coo")


def _content(gateway: RealGateway, agent: str) -> str:
    with gateway.connect(scopes=(ADMIN,)) as connection:
        job = monitors(connection)[agent]["id"]
        return str(connection.call("cron.scratch.get", {"id": job})["scratch"]["content"])
