"""`heartbeat doctor` where it may not look (rule B8): a finding with advice, never a bug."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import heartbeat
from tests.support.fake_schedulers import fake_schedulers


def test_what_another_user_may_not_look_at_is_a_finding(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert heartbeat("tick", "--all", cwd=team).code == 0
    state, look, may = team / "state", os.stat, os.access

    def forbidden(path: Any) -> bool:
        return isinstance(path, str | Path) and state in Path(path).parents

    def stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if forbidden(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return look(path, *arguments, **options)

    def access(path: Any, *arguments: Any, **options: Any) -> bool:
        return not forbidden(path) and path != state and may(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "access", access)
    done = heartbeat("doctor", "--json", cwd=team)
    assert done.code == 1, done.err
    found = {(each["area"], each["subject"]): each for each in done.json["checks"]}
    assert found["state", "directory"]["message"] == f"{state} cannot be written: every beat fails"
    assert "Permission denied" in found["state", "store"]["message"]
    assert found["state", "store"]["advice"].startswith("run as the user who owns the state directory")


def doctor(team: Path, **environment: str) -> dict[tuple[str, str], dict[str, str]]:
    """The checks by area and subject, and the level under `level`."""
    document = heartbeat("doctor", "--json", cwd=team, **environment).json
    found = {(each["area"], each["subject"]): each for each in document["checks"]}
    return {**found, ("", "level"): {"level": document["level"]}}


def full(path: Any) -> os.statvfs_result:
    """A disk without a byte left."""
    return os.statvfs_result((4096, 4096, 1000, 0, 0, 1000, 900, 900, 0, 255))


def test_B7_a_disk_without_room_is_a_failure_and_the_level_says_so(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert heartbeat("tick", "--all", cwd=team).code == 0
    found = doctor(team)
    assert (found["state", "disk"]["level"], found["", "level"]["level"]) == ("ok", "L0")
    monkeypatch.setattr(os, "statvfs", full)
    found = doctor(team)
    assert (found["state", "disk"]["level"], found["", "level"]["level"]) == ("failed", "L3")
    assert found["state", "disk"]["message"] == f"0 bytes free on the disk of {team / 'state'}: beats will fail"
    assert heartbeat("doctor", cwd=team).code == 1


def test_B7_where_scheduled_beats_cannot_be_noted_elsewhere_the_doctor_says_so(
    team: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = fake_schedulers(tmp_path / "bin")
    may = os.access
    home = team / "closed"
    home.mkdir()

    def access(path: Any, mode: int, **options: Any) -> bool:
        return Path(path) != home and may(path, mode, **options)

    monkeypatch.setattr(os, "access", access)
    place = {"PATH": commands.path, "XDG_STATE_HOME": str(home)}
    assert ("state", "note") not in doctor(team, **place), "no beat is on schedule"
    assert heartbeat("cron", "install", cwd=team, PATH=commands.path).code == 0
    found = doctor(team, **place)
    assert found["state", "note"]["level"] == "note"
    assert str(home / "heartbeat-known") in found["state", "note"]["message"]
    assert found["people", "watchdog"]["message"].startswith("on schedule: crontab; it ends together with the beats")
    monkeypatch.setattr(os, "access", may)
    assert ("state", "note") not in doctor(team, **place)


def test_what_is_said_of_all_agents_takes_one_line_with_one_command(team: Path) -> None:
    done = heartbeat("doctor", cwd=team)
    assert done.code == 0
    assert done.out.count("missing") == 1
    assert "3 agents" in done.out
    assert "coo, architect, costcodev" in done.out
    assert " ".join(done.out.split()).count("render --all") == 1, "however the lines are folded"
    levels = [word for line in done.out.splitlines() for word in line.split()[2:3] if word in ("ok", "note", "warning")]
    assert levels == sorted(levels, key=["warning", "note", "ok"].index)


def test_who_has_no_multica_is_not_told_that_its_agents_lack_an_id_there(tmp_path: Path) -> None:
    (tmp_path / "agents.yaml").write_text("agents: {coo: {class: high_frequency, notify: [self]}}\nstate: state\n")
    found = doctor(tmp_path, PATH="/nonexistent")
    assert ("coo", "multica_id") not in found
    assert found["multica", "cli"]["message"] == "not set up: no program multica on the PATH"
