"""What a scheduler is told to start: full paths, nothing that a bare environment must supply (rule S1a). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Launch:
    """How `heartbeat` is started by something that knows neither our PATH nor our directory. All paths are absolute.

    `program` is what runs it: the command's own file, or an interpreter with `-m heartbeat`. `path` is the PATH under
    which `openclaw` and `multica` are found. `environment_file` holds lines of NAME=value with what the roster takes
    from the environment, secrets among them; it is named and never read into a schedule.
    """

    program: tuple[str, ...]
    roster: Path
    state: Path
    path: str
    environment_file: Path | None = None
    apart: Path | None = None
    """A directory of the watchdog's own, for this roster."""

    @property
    def log(self) -> Path:
        """Where a scheduler without a log of its own puts what the beats say."""
        return self.state / "log" / "beats.log"

    @property
    def watchdog_log(self) -> Path:
        """Its own file, and not with the state where there is another place: a shell starts nothing whose log it cannot
        open, and a state disk that is full or gone is what the watchdog has to tell."""
        return (self.apart or self.state / "log") / "watchdog.log"

    def command(self, *words: str) -> tuple[str, ...]:
        """The argument list of `heartbeat WORDS…` for this roster."""
        file = () if self.environment_file is None else ("--env-file", str(self.environment_file))
        return (*self.program, "--roster", str(self.roster), *file, *words)

    def due(self, agents: Sequence[str] = ()) -> tuple[str, ...]:
        """One beat of whoever is due: of `agents`, or of everybody that the roster has at that time."""
        return self.command("tick", "--due", "--scheduled", *agents)

    def beat(self, agent: str) -> tuple[str, ...]:
        """One beat of one agent, now."""
        return self.command("tick", agent, "--scheduled")

    def daemon(self, agents: Sequence[str] = ()) -> tuple[str, ...]:
        """All beats in one process that stays."""
        chosen = () if not agents else ("--agents", ",".join(agents))
        return self.command("run", *chosen)

    def watchdog(self) -> tuple[str, ...]:
        """One look at whether the beats come."""
        return self.command("watchdog", "--scheduled")
