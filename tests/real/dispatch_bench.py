"""An agent that heartbeat starts, as it is in a user's hands: the command line as processes of their own, a roster that
is a file, a state directory, a real Gateway, and models that do as a test says."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import ClientConnection

from heartbeat.attempt import Attempt, DeadLetter
from heartbeat.breaker import State
from heartbeat.store.opening import open_store, open_store_read_only
from heartbeat.store.port import EntryKind
from heartbeat.task import Ref
from tests.real.gateway import GatewayFailedError, RealGateway
from tests.real.install import OpenClawInstallation, install_openclaw
from tests.real.providers import AGENTS, SECONDS, Provider, Providers
from tests.real.turns import until
from tests.real.wiretap import Wiretap
from tests.real.writer_cases import RealBoardWriterCase

_WAIT = 30_000
"""Milliseconds for which the Gateway is asked to wait for the end of a turn at a time."""

_GOES_ON = frozenset({"queued", "running"})

PROVIDER = "{name: %s, model: %s, priority: %d, max_retries: 1, run_deadline: %s}"


class DispatchGateway(RealGateway):
    """Agents with a model each, whose shell finds `heartbeat`; heartbeat finds the Gateway by openclaw.json there."""

    def __init__(self, installation: OpenClawInstallation, providers: Providers) -> None:
        self._providers = providers
        super().__init__(installation, AGENTS)

    @property
    def environment(self) -> dict[str, str]:
        own = super().environment
        return {**own, "PATH": f"{Path(sys.executable).parent}:{own['PATH']}"}

    def kill(self) -> None:
        """As if its machine had lost its power; it can be started again."""
        os.killpg(self._pid, signal.SIGKILL)
        self.stop()

    def _configure(self) -> None:
        super()._configure()
        path = self.state_directory / "openclaw.json"
        configuration = json.loads(path.read_text(encoding="utf-8"))
        configuration["gateway"] |= {"port": self.port, "auth": {"mode": "token", "token": self.token}}
        self._providers.configure(configuration)
        path.write_text(json.dumps(configuration, indent=2), encoding="utf-8")


@cache
def _started() -> tuple[DispatchGateway | None, Providers, Exception | None]:
    providers = Providers()
    atexit.register(providers.close)
    try:
        gateway = DispatchGateway(install_openclaw(), providers)
        atexit.register(gateway.close)
        gateway.start()
    except Exception as error:  # noqa: BLE001 - whatever it is, each test that needs the Gateway reports it
        return None, providers, error
    return gateway, providers, None


_unused = iter(AGENTS)


class Tollgate(Wiretap):
    """A wiretap that can keep one frame back for as long as somebody wants. `callers` have come to it."""

    callers = 0

    def on(self, method: str, do: Callable[[], None]) -> None:
        """Does something just before the next request of this method is passed on."""

        def passed(text: str) -> str:
            if json.loads(text)["method"] == method:
                self.rewrite = str
                do()
            return text

        self.rewrite = passed

    def before(self, method: str) -> Caught:
        """The next request of this method does not arrive: it is kept, and in the end its connection is cut."""
        caught = Caught()

        def cut() -> None:
            caught.keep()
            raise ConnectionClosedOK(None, None)

        self.on(method, cut)
        return caught

    def after(self, method: str) -> Caught:
        """The next request of this method is carried out, and its answer does not arrive."""
        caught = Caught()

        def kept(asked: str) -> bool:
            if asked != method:
                return False
            caught.keep()
            return True

        self.loses = kept
        return caught

    def _dial(self) -> ClientConnection:
        self.callers += 1
        return super()._dial()


@dataclass(frozen=True, slots=True)
class Caught:
    """A frame on its way."""

    there: threading.Event = field(default_factory=threading.Event)
    _done_with: threading.Event = field(default_factory=threading.Event)

    def keep(self) -> None:
        self.there.set()
        self._done_with.wait(SECONDS)

    def drop(self) -> None:
        self._done_with.set()


@dataclass(slots=True)
class Bench:
    """One agent with a board and three providers, of whom the first is its own model and the second its fallback."""

    gateway: DispatchGateway
    tollgate: Tollgate
    agent: str
    providers: tuple[Provider, ...]
    folder: Path
    case: RealBoardWriterCase
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def first(self) -> Provider:
        return self.providers[0]

    @property
    def diary(self) -> tuple[str, ...]:
        """What this agent's providers met, in order."""
        names = {each.name for each in self.providers}
        return tuple(entry for entry in self.first.diary.entries if entry.split()[-1] in names)

    @property
    def methods(self) -> list[str]:
        """What heartbeat's beats asked the Gateway for."""
        return self.tollgate.methods

    @property
    def roster(self) -> Path:
        return self.folder / "agents.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def write_roster(self, *deadlines: str) -> None:
        """`deadlines` are how long turns may last with each provider that heartbeat goes through; without any, that is
        left to OpenClaw. One failure is enough for heartbeat to go on to the next."""
        listed = [PROVIDER % (name, model, *rest) for name, model, *rest in self._providers(deadlines)]
        lines = [
            "operator: {name: Vincent, notify: [ops]}",
            "state: state",
            "dispatch: openclaw",
            "sources: {workboard: {transport: gateway}}",
            "channels: {ops: {kind: file, path: ops.log, min_level: info}}",
            "failover: {strategy: managed, open_after: 1}" if deadlines else "failover: {strategy: native}",
            f"providers: [{', '.join(listed)}]",
            "agents:",
            f"  {self.agent}: {{class: high_frequency, notify: [operator]}}",
        ]
        self.roster.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _providers(self, deadlines: Sequence[str]) -> Iterator[tuple[str, str, int, str]]:
        for number, (provider, deadline) in enumerate(zip(self.providers, deadlines, strict=False), start=1):
            yield provider.name, provider.model, number, deadline

    def ready(self, title: str = "写周报") -> Ref:
        """A card of the agent's that nobody has begun."""
        return self.case.waiting(title, self.agent)

    def status(self, ref: Ref) -> str:
        return str(self.case.record(ref)["status"])

    def claimant(self, ref: Ref) -> str:
        claim = self.case.metadata(ref).get("claim")
        return str(claim["ownerId"]) if claim else ""

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """`heartbeat` with these words, in a process of its own."""
        environment = {**self.gateway.environment, "OPENCLAW_GATEWAY_PORT": str(self.tollgate.port)}
        process = subprocess.Popen(
            [sys.executable, "-m", "heartbeat", "--roster", str(self.roster), *words],
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def tick(self, *words: str) -> dict[str, Any]:
        """One beat of the agent, as the beat's receipt tells it."""
        told = document(self.begin("tick", *(words or (self.agent,)), "--fresh", "--json"))
        [beat] = told.get("ticks", [told])
        dispatch: dict[str, Any] = beat["receipt"]["dispatch"]
        return dispatch

    def die(self, process: subprocess.Popen[str]) -> None:
        """The process ends at once, whatever it is about."""
        process.kill()
        process.communicate()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        with open_store_read_only(self.state) as store:
            return store.attempts()

    @property
    def letters(self) -> tuple[DeadLetter, ...]:
        with open_store_read_only(self.state) as store:
            return store.letters()

    def shut(self) -> dict[str, State]:
        """The breakers that are not closed, by name."""
        with open_store_read_only(self.state) as store:
            return {name: each.state for name, each in store.breakers().items() if each.state is not State.CLOSED}

    @property
    def outcomes(self) -> Counter[str]:
        """How often the end of each attempt was put on record."""
        with open_store_read_only(self.state) as store:
            entries = store.log(limit=1000)
        return Counter(str(each.details["dispatch"]) for each in entries if each.action == "dispatch-ended")

    @property
    def told(self) -> list[str]:
        """What the operator is told of, a word each. Nothing goes out twice, and on the full and the half hour
        (rule O3) some of it goes out with a later beat."""
        with open_store_read_only(self.state) as store:
            on_record = [each.key for each in store.entries(kind=EntryKind.MESSAGE)]
        path = self.folder / "ops.log"
        sent = [json.loads(line)["key"] for line in path.read_text().splitlines()] if path.exists() else []
        assert len(sent) == len(set(sent)) <= len(on_record), (sent, on_record)
        return sorted(key.partition("/")[0] for key in on_record)

    def let_time_pass(self) -> None:
        """As if an hour had gone by: running turns are past their deadlines, dead letters are due, and breakers that
        opened may be tried again."""
        now = datetime.now(UTC)
        with open_store(self.state, now) as store, store.transaction():
            for attempt in store.attempts(unfinished=True):
                assert attempt.stopwatch is not None
                longer = replace(attempt.stopwatch, seconds=attempt.stopwatch.seconds + 3600)
                assert store.advance_attempt(replace(attempt, stopwatch=longer), attempt.life)
            for letter in store.letters(open_only=True):
                store.put_letter(replace(letter, due_at=now))
            for each in store.breakers().values():
                store.put_breaker(replace(each, until=now if each.until is not None else None))

    def wait_for_end(self, attempt: Attempt, seconds: float = SECONDS) -> None:
        """Returns when the attempt's turn is over, by `agent.wait` and by the list of tasks, which follows a moment
        later."""
        end = time.monotonic() + seconds
        with self.gateway.connect() as connection:
            while "endedAt" not in connection.call("agent.wait", {"runId": attempt.id, "timeoutMs": _WAIT}):
                assert time.monotonic() < end, self.runs(attempt)
        until(lambda: not any(run["status"] in _GOES_ON for run in self.runs(attempt)))

    def runs(self, attempt: Attempt) -> list[dict[str, Any]]:
        """What OpenClaw has on record of the turns of the attempt's session, the oldest first."""
        key = f"agent:{self.agent}:{attempt.session}"
        found = self.gateway.call("tasks.list", {"sessionKey": key, "limit": 50})["tasks"]
        return sorted(found, key=lambda each: each["createdAt"])

    def close(self) -> None:
        self.tollgate.close()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for provider in self.providers:
            provider.go()
        for attempt in self.attempts if self.state.exists() else ():
            for run in self.runs(attempt):
                if run["status"] in _GOES_ON:
                    self.gateway.call("tasks.cancel", {"taskId": run["taskId"]})
        self.case.clear()


def document(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a process printed that ended well."""
    out, err = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 0, f"{process.args!r}: exit {process.returncode}\n{out}\n{err}"
    printed: dict[str, Any] = json.loads(out)
    return printed


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """An agent that no other test has; the Gateway is started when first asked for."""
    gateway, providers, failure = _started()
    if gateway is None:
        raise GatewayFailedError("the Gateway of the dispatch tests could not be started") from failure
    if not gateway.is_up:
        gateway.start()
    agent = next(_unused)
    tollgate = Tollgate(gateway.url)
    with contextlib.ExitStack() as stack:
        stack.enter_context(tollgate)
        opened = Bench(
            gateway, tollgate, agent, providers.of[agent], folder, RealBoardWriterCase(gateway, tollgate, "gateway")
        )
        stack.callback(opened.close)
        yield opened


def reports(verb: str, output: str = "") -> Any:
    """What an agent runs that reports with a verb, by the command that its prompt gives for that."""

    def commands(prompt: str) -> Sequence[str]:
        found = re.search(rf"^heartbeat .* {verb} .*$", prompt, re.MULTILINE)
        assert found is not None, prompt
        command = re.sub(r"'[^']*'$", "'本周的周报写好了'", found[0])
        if output:
            return (f"echo done > {output}", command.replace("--output 文件", f"--output {output}"))
        return (command.replace(" --output 文件", "").replace(" --type document", ""),)

    return commands
