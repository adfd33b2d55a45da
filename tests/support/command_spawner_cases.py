"""The `openclaw` program as a case of the spawners' suite."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Order
from heartbeat.dispatch.command import CommandSpawner
from heartbeat.dispatch.folder import RunFolder
from heartbeat.dispatch.supervise import BEGAN, CHILD, process_in
from heartbeat.dispatch.watched import is_alive
from heartbeat.store.holder import Process
from tests.contract.spawner_suite import PATIENCE, SpawnerCase
from tests.support.fake_models import COMPLAINTS, Behaviour
from tests.support.fake_openclaw_agent import FakeOpenClawAgent

TOKEN = "a-token-that-nobody-may-see"


class CommandCase(SpawnerCase):
    """A fake program. `settle` is short: it answers at once, or never."""

    secret = TOKEN

    def __init__(self, directory: Path) -> None:
        complaints = {behaviour.value: complaint.told for behaviour, complaint in COMPLAINTS.items()}
        self.program = FakeOpenClawAgent(directory, complaints)
        self.runs = directory / "state" / "runs"
        self.home = directory

    def spawner(self, *, settle: float = 0.2, grace: float = 0.5, slack: float = 60.0) -> CommandSpawner:
        return CommandSpawner(
            environment=self.program.environment(self.home, MY_TOKEN=TOKEN),
            runs=self.runs,
            token_env="MY_TOKEN",
            settle=settle,
            grace=grace,
            slack=slack,
        )

    def model(self, behaviour: Behaviour | str) -> str:
        return f"fake/{behaviour}"

    def calls(self, order: Order) -> int:
        return len(self.program.record("turn", order.attempt.session))

    def let_go(self) -> None:
        self.program.let_go()

    @contextmanager
    def gone(self) -> Iterator[None]:
        self.program.order(reach="down")
        yield
        self.program.order(reach="up")

    def lose_next_answer(self) -> None:
        raise NotImplementedError("the program tells nothing before the end")

    def folder(self, order: Order) -> RunFolder:
        return RunFolder(self.runs, order.attempt.id)

    def watcher(self, order: Order) -> Process:
        found = process_in(self.folder(order).read_json(BEGAN) or {})
        assert found is not None
        return found

    def child(self, order: Order) -> Process:
        found = process_in(self.folder(order).read_json(CHILD) or {})
        assert found is not None
        return found

    def watched(self, order: Order) -> list[str]:
        """What a process says that comes to watch now, however late, until it ends."""
        argv = [sys.executable, "-P", "-m", "heartbeat.dispatch.supervise", str(self.folder(order).path), "inf"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    def waited(self, happened: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < until, "it never happened"
            time.sleep(0.01)

    def close(self) -> None:
        """Whatever a test left running ends."""
        self.let_go()
        for path in self.runs.glob("*"):
            folder = RunFolder(self.runs, path.name)
            for name in (BEGAN, CHILD):
                process = process_in(folder.read_json(name) or {})
                if process is not None and is_alive(process):
                    with suppress(FileNotFoundError):
                        folder.put("stop", b"")
                    self.waited(lambda process=process: not is_alive(process))  # type: ignore[misc]


def soon() -> Deadline:
    return Deadline.after(PATIENCE)


@contextmanager
def open_command_case(directory: Path) -> Iterator[CommandCase]:
    case = CommandCase(directory)
    try:
        yield case
    finally:
        case.close()
