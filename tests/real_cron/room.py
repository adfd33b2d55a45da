"""A real cron with a spool of its own, in a mount and a process namespace: nothing of it is left when the room closes.

Where nobody may make namespaces (many containers), the machine's own spool is used if HEARTBEAT_CRON_ON_MACHINE is 1:
the user's table is kept meanwhile and put back. Otherwise the tests are skipped.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PATIENCE = 30.0
ROOT = Path(__file__).parents[2]
ON_MACHINE = "HEARTBEAT_CRON_ON_MACHINE"

# The system's own jobs are covered, and so is the file by which cron sees that another one runs.
_SETUP = """
set -e
mount -t tmpfs none /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mount -t tmpfs none /run
mkdir /run/nothing
: >/run/empty
[ ! -e /etc/crontab ] || mount --bind /run/empty /etc/crontab
[ ! -d /etc/cron.d ] || mount --bind /run/nothing /etc/cron.d
[ "$1" = idle ] || cron -f -L 0 &
echo ready
cat >/dev/null
"""


@dataclass(frozen=True)
class Room:
    """Where `crontab`, and cron, are nobody else's. `prefix` leads a command into it."""

    prefix: tuple[str, ...]
    home: Path

    def run(self, *argv: str, stdin: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """A command in the room with little in its environment."""
        path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        given = {"PATH": path, "HOME": str(self.home), **environment}
        return subprocess.run(
            [*self.prefix, *argv], input=stdin, env=given, capture_output=True, timeout=PATIENCE, check=False, cwd="/"
        )

    def heartbeat(self, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """The command, which keeps nothing in the real home, unless a file says where else."""
        apart = {} if "--env-file" in words else {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}
        return self.run(sys.executable, "-m", "heartbeat", *words, **apart, **environment)

    @property
    def table(self) -> bytes | None:
        """The table byte for byte, as `crontab -e` gives it to an editor; None where there is none."""
        if self.run("crontab", "-l").returncode != 0:
            return None
        return self.run("crontab", "-e", VISUAL="cat <", EDITOR="cat <").stdout

    def put_table(self, table: bytes) -> None:
        done = self.run("crontab", "-", stdin=table)
        assert done.returncode == 0, done.stderr


def _real_home() -> Path:
    """What cron sets HOME to."""
    return Path(pwd.getpwuid(os.getuid()).pw_dir)


@contextmanager
def room(*, idle: bool = False) -> Iterator[Room]:
    """A room with cron running in it, or with `idle` with the `crontab` command alone."""
    if os.getuid() != 0 or shutil.which("cron", path="/usr/sbin:/usr/bin") is None or shutil.which("crontab") is None:
        pytest.skip("needs root and Debian's cron (apt-get install cron)")
    own = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    words = ("sh", "-c", _SETUP, "room", "idle" if idle else "cron")
    with subprocess.Popen(
        [*own, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        ready = holder.stdout.readline() == b"ready\n"
        if ready:
            pid = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0]
            try:
                yield Room(("nsenter", "--mount", "--pid", "--target", pid, "--"), _real_home())
            finally:
                holder.stdin.close()
                holder.wait(PATIENCE)
    if ready:
        return
    if os.environ.get(ON_MACHINE) != "1":
        pytest.skip(f"nobody may make namespaces here, and {ON_MACHINE} is not 1")
    with _machine(idle=idle) as of_machine:
        yield of_machine


@contextmanager
def _machine(*, idle: bool) -> Iterator[Room]:
    """The machine's own spool, with the user's table put back at the end."""
    with contextlib.ExitStack() as stack:
        found = Room((), _real_home())
        before = found.table
        stack.callback(found.run, "crontab", "-r" if before is None else "-", stdin=before)
        if before is not None:
            found.run("crontab", "-r")
        if not idle and not _cron_runs():
            daemon = subprocess.Popen(["cron", "-f", "-L", "0"], start_new_session=True)
            stack.callback(daemon.wait, PATIENCE)
            stack.callback(daemon.terminate)
        yield found


def _cron_runs() -> bool:
    for entry in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if entry.read_text().strip() == "cron":
                return True
    return False


def team(folder: Path, agents: Mapping[str, str], settings: str = "") -> Path:
    """A roster of agents that read TODO files only, by id and rhythm, each with one line of work."""
    folder.mkdir(parents=True)
    lines = ["timezone: UTC", "state: state", "workspaces: workspaces", "sources: {todo: {}}", settings, "agents:"]
    for agent, rhythm in agents.items():
        lines.append(f"  {agent}: {{class: business, notify: [], {rhythm}}}")
        (folder / "workspaces" / agent).mkdir(parents=True)
        (folder / "workspaces" / agent / "TODO.md").write_text(f"- [ ] work of {agent}\n")
    (folder / "agents.yaml").write_text("\n".join(filter(None, lines)) + "\n")
    return folder / "agents.yaml"
