"""The README's way from nothing to a team that beats by itself, walked to the letter, with real processes."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.fake_board import FakeBoard
from tests.support.fake_cards import SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_schedulers import FakeSchedulers, fake_schedulers

README = (Path(__file__).parents[2] / "README.md").read_text()
AGENTS = ("coo", "architect", "writer")
QUICK = """
classes:
  high_frequency: {every: 3s}
  developer: {every: 3s}
  business: {every: 3s}
"""
PATIENCE = 120


def the_way() -> list[str]:
    """The commands under "Then your own", without their comments."""
    block = re.search(r"```sh\n(heartbeat init .*?)```", README, re.DOTALL)
    assert block is not None
    return [line.split("#")[0].strip() for line in block[1].splitlines()]


class Machine:
    """A home, a Gateway with three agents, and schedulers; `heartbeat` is on PATH as after an installation."""

    def __init__(self, home: Path, gateway: FakeGateway, schedulers: FakeSchedulers) -> None:
        self.home = home
        self.schedulers = schedulers
        commands = Path(sys.executable).parent
        self.environment = {
            "HOME": str(home),
            "USER": "somebody",
            "LANG": "C.UTF-8",
            "TZ": "Asia/Shanghai",
            "PATH": f"{schedulers.folder}:{commands}:/usr/bin:/bin",
            **gateway.environment(),
        }
        # What a shell exports is not there for cron: the README says where to put it.
        kept = home / ".config" / "heartbeat" / "environment"
        kept.parent.mkdir(parents=True)
        kept.write_text("".join(f"{name}={value}\n" for name, value in gateway.environment().items()))
        kept.chmod(0o600)

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            shlex.split(line),
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )

    def at_a_terminal(self, line: str) -> int:
        """Runs a command at a terminal, where somebody accepts whatever it proposes."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            shlex.split(line), cwd=self.home, env=self.environment, stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            os.write(ours, b"\n" * 20)
            with suppress(OSError):  # the end of the other side
                while os.read(ours, 4096):
                    pass
            os.close(ours)
            return process.wait(PATIENCE)

    @contextmanager
    def cron(self) -> Iterator[None]:
        """Runs what was installed, again and again, in the bare environment that cron gives."""
        over = threading.Event()

        def minutes() -> None:
            while not over.is_set():
                for line in (self.schedulers.table or b"").decode().splitlines():
                    if line.startswith("* * * * * "):
                        command = line.removeprefix("* * * * * ").replace("\\%", "%")
                        bare = {"HOME": str(self.home), "LOGNAME": "somebody", "PATH": "/usr/bin:/bin"}
                        subprocess.run(["/bin/sh", "-c", command], cwd=self.home, env=bare, check=True)
                over.wait(0.5)

        thread = threading.Thread(target=minutes)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(PATIENCE)


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    told = {}
    for agent in AGENTS:
        workspace = folder / "workspaces" / agent
        workspace.mkdir(parents=True)
        (workspace / "AGENTS.md").write_text("At every heartbeat read HEARTBEAT.md.\n")
        (workspace / "TODO.md").write_text("- [ ] Water the plants\n")
        told[agent] = {"workspace": str(workspace)}
    home = folder / "home"
    home.mkdir()
    board = FakeBoard(SteppingClock(1_795_226_000_000))
    with FakeGateway(board, agents=AGENTS, told=told) as gateway:
        yield Machine(home, gateway, fake_schedulers(folder / "schedulers"))


def test_the_way_of_the_readme_leads_to_a_team_that_beats_by_itself(tmp_path: Path) -> None:
    commands = the_way()
    assert [line.split()[1] for line in commands] == [
        "init", "roster", "doctor", "notify", "render", "render", "tick", "cron", "doctor", "verify",
    ]  # fmt: skip
    with machine(tmp_path) as here:
        assert here.at_a_terminal(commands[0]) == 0
        roster = here.home / "agents.yaml"
        # Cron's home is the one that the machine knows, and this one is made up: so no `~` here.
        roster.write_text(roster.read_text().replace("~/", f"{here.home}/") + QUICK)
        for line in commands[1:-1]:
            done = here.run(line)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        with here.cron():
            verified = here.run(commands[-1])
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert all(agent in verified.stdout for agent in AGENTS)
        assert here.run("heartbeat health").returncode == 0
        assert all((tmp_path / "workspaces" / agent / "HEARTBEAT.md").is_file() for agent in AGENTS)
        assert here.run("heartbeat cron remove").returncode == 0
        assert not here.schedulers.table
