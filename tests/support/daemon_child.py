"""A real `heartbeat run` in a process of its own, whose source does what the test tells it to.

The team is in a folder: `agents.yaml`, `state`, and at times `held`, a pipe with a name. While that is there, a read
says `reading` on standard output, and goes on when somebody has opened and closed the pipe. Nothing else is simulated.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from heartbeat.daemon.supervisor import VARIABLES
from heartbeat.deadline import Deadline
from heartbeat.roster.model import Roster
from heartbeat.store.opening import open_store_read_only
from heartbeat.store.port import LogEntry, Receipt
from heartbeat.systems.base import Probe, Reading, ReadStatus, Source, SourceReport
from tests.support.child import PATIENCE, ROOT, Child

PROGRAM = "from tests.support.daemon_child import main\nmain()"
QUICK = 0.2
"""Seconds in place of longer ones (HEARTBEAT_TEST_QUICK): until somebody who hangs may be ended, until a long end is
spoken of, until a saved file is read."""

ROSTER = """version: 1
timezone: UTC
state: state
workspaces: workspaces
sources: {{workboard: {{}}}}
agents:
{agents}
"""


@dataclass
class HeldSource:
    """Implements Source: nothing to do, but it may take its time to say so."""

    folder: Path
    name: str = "workboard"
    identity: str = "held"
    shareable: bool = False

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        with suppress(FileNotFoundError):
            pipe = os.open(self.folder / "held", os.O_RDONLY | os.O_NONBLOCK)
            os.write(1, b"reading\n")
            held = select.poll()
            held.register(pipe)
            held.poll()  # says nothing before somebody has opened the other end
            os.close(pipe)
        return Reading(SourceReport(self.name, ReadStatus.COMPLETE, "held", read_at=now), presence=())

    def probe(self, deadline: Deadline) -> tuple[Probe, ...]:
        return ()


def build(settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> Source:
    inherited = [name for name in (*environment, *os.environ) if name in VARIABLES]
    if inherited:
        os.write(1, f"children would inherit {inherited}\n".encode())
    return HeldSource(roster.path.parent)


def main() -> None:
    """What the child does: the command itself, with the source in the place of a real one."""
    from heartbeat.cli.main import main as heartbeat
    from heartbeat.systems import registry

    registry.BUILT_IN["workboard"] = "tests.support.daemon_child:build"
    if os.environ.get("HEARTBEAT_TEST_QUICK"):
        from heartbeat.daemon import loop, roster_file, witness
        from heartbeat.store import locks

        loop.GRACE = witness.GRACE = witness.INTERVAL = roster_file.SETTLES = QUICK
        locks._MARGIN = (QUICK, QUICK)
    if os.environ.get("HEARTBEAT_TEST_NOHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup leaves it to whom it starts
    if os.environ.get("HEARTBEAT_TEST_TERMINAL"):
        os.open(os.environ["HEARTBEAT_TEST_TERMINAL"], os.O_RDWR)  # a session without one gets it so
    sys.argv = ["heartbeat", *sys.argv[1:]]
    heartbeat()


class Talker(Child):
    """A command whose lines are the test's means of timing."""

    def until(self, text: str) -> list[str]:
        """The lines up to the first one that has the text in it."""
        lines = [self.line()]
        while text not in lines[-1]:
            lines.append(self.line())
        return lines

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def rest(self) -> list[str]:
        """What it says until it ends."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        return (self._unread + said).decode().splitlines()


@dataclass
class Team:
    """A folder with a roster. `every` is how often everybody beats."""

    folder: Path
    agents: Sequence[str] = ("coo", "writer")
    every: str = "0.5s"
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.save()

    def save(self, *agents: str, every: str = "", text: str = "") -> None:
        """Another roster in the file."""
        lines = (f"  {name}: {{class: business, every: {every or self.every}}}" for name in agents or self.agents)
        new = self.folder / "agents.yaml.new"
        new.write_text(text or ROSTER.format(agents="\n".join(lines)))
        new.replace(self.folder / "agents.yaml")

    def hold(self) -> None:
        """From now on reads do not come back."""
        os.mkfifo(self.folder / "held")

    def let_go(self) -> None:
        """The read that is held comes back, and later ones at once."""
        pipe = os.open(self.folder / "held", os.O_WRONLY)
        (self.folder / "held").unlink()
        os.close(pipe)

    @contextmanager
    def command(self, *words: str, output: int = subprocess.PIPE, **environment: str) -> Iterator[Talker]:
        """The command at work; both its outputs are one, line by line. What is left of it at the end is killed."""
        home = {"HOME": str(self.folder), "PYTHONPATH": str(ROOT), "PATH": f"{self.folder}:/usr/bin:/bin"}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={**home, **self.environment, **environment},
            start_new_session=True,
        )
        with process:
            started = Talker(process)
            try:
                yield started
            finally:
                if process.poll() is None:
                    started.kill()

    def daemon(self, *words: str, **more: Any) -> AbstractContextManager[Talker]:
        return self.command("run", "--jitter", "0s", *words, **more)

    def call(self, *words: str, **environment: str) -> tuple[int, str]:
        """A command that ends by itself: its exit code and all that it said."""
        with self.command(*words, **environment) as child:
            said, _ = child.process.communicate(timeout=PATIENCE)
            return child.end(), said.decode()

    def receipts(self, agent: str = "coo") -> list[Receipt]:
        """Oldest first."""
        with open_store_read_only(self.folder / "state") as store:
            return list(reversed(store.receipts(agent, limit=10_000)))

    def log(self, action: str) -> list[LogEntry]:
        with open_store_read_only(self.folder / "state") as store:
            return [entry for entry in store.log() if entry.action == action]
