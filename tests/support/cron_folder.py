"""What `heartbeat cron install` writes for the sample roster, with paths of a machine that is nobody's.

    python -m tests.support.cron_folder

writes it into cron/; tests/cli/test_cron_folder.py compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import tzdata

from heartbeat.install.base import Order, Piece, Style
from heartbeat.install.crontab import CrontabTarget
from heartbeat.install.openclaw import OpenclawTarget
from heartbeat.install.systemd import SystemdTarget
from heartbeat.roster.load import load_roster
from heartbeat.schedule.launch import Launch

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cron"
HOME = Path("/home/heartbeat")
ROSTER = Path("/etc/heartbeat/agents.yaml")
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
WRITTEN_BY_HAND = {"README.md"}


def files() -> dict[str, str]:
    """Every generated file of cron/ with its text."""
    roster = replace(load_roster(ROOT / "agents.yaml", {"HOME": str(HOME)}), path=ROSTER)
    state = roster.state or HOME / ".local" / "state" / "heartbeat"
    environment_file = Path("/etc/heartbeat/environment")
    apart = HOME / ".local" / "state" / "heartbeat" / "watchdog" / "f194f0d6"
    path = "/usr/local/bin:/usr/bin:/bin"
    launch = Launch(("/usr/local/bin/heartbeat",), ROSTER, state, path, environment_file, apart)
    zone = Path(tzdata.__file__).parent / "zoneinfo" / "Asia" / "Shanghai"
    crontab = CrontabTarget(roster, launch, {}, clock=lambda: NOW, zone_file=zone)
    openclaw = OpenclawTarget(roster, {})
    systemd = SystemdTarget(
        roster, launch, {"HOME": str(HOME)}, system=True, directory=FOLDER / "nothing", others=(), user="heartbeat"
    )
    automations = openclaw.wanted(Order(roster, launch, Style.EACH), ())
    return {
        "heartbeat.crontab": crontab.wanted(Order(roster, launch, Style.DUE), ())[0].text,
        "heartbeat-each.crontab": crontab.wanted(Order(roster, launch, Style.EACH), ())[0].text,
        **_named("systemd", systemd.wanted(Order(roster, launch, Style.DUE), ())),
        **_named("systemd-daemon", systemd.wanted(Order(roster, launch, Style.DAEMON), ())),
        "openclaw.json": "[\n" + ",\n".join(piece.text.rstrip("\n") for piece in automations) + "\n]\n",
    }


def _named(folder: str, units: Sequence[Piece]) -> dict[str, str]:
    return {f"{folder}/{unit.name}": unit.text for unit in units}


def present() -> dict[str, str]:
    """Every file of cron/ that is there, but those that people write."""
    paths = (path for path in FOLDER.rglob("*") if path.is_file() and path.name not in WRITTEN_BY_HAND)
    return {str(path.relative_to(FOLDER)): path.read_text() for path in paths}


if __name__ == "__main__":
    for name in present().keys() - files().keys():
        (FOLDER / name).unlink()
    for name, text in files().items():
        (FOLDER / name).parent.mkdir(exist_ok=True)
        (FOLDER / name).write_text(text)
