"""What must never pass in silence: nothing read, memory lost, a stopped beat, output that goes nowhere (S2, B2, B7)."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import heartbeat

ALONE = """
version: 1
state: state
workspaces: nowhere/{id}
sources: {workboard: {}, multica: {}, todo: {}}
agents:
  coo: {name: 陆怀瑾, class: high_frequency, notify: [self]}
"""


def test_nothing_read_is_degraded_and_never_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "agents.yaml").write_text(ALONE)
    done = heartbeat("tick", "coo", "--json", cwd=tmp_path, PATH="/nonexistent")
    assert done.code == 0
    assert [alarm["code"] for alarm in done.json["alarms"]] == ["nothing-read"]
    assert done.json["receipt"]["outcome"] == "degraded"
    assert "nothing-read" in done.err
    shown = heartbeat("worklist", "coo", "--strict", cwd=tmp_path, PATH="/nonexistent")
    assert shown.code == 3
    assert "ALARM nothing-read" in shown.out
    assert "Nothing to do" not in shown.out
    assert "Not in use: `workboard`, `multica`" in shown.out
    assert heartbeat("doctor", cwd=tmp_path, PATH="/nonexistent").code == 1


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000])
def test_B7_lost_memory_is_told_by_every_command_until_somebody_accepts_it(team: Path, content: bytes) -> None:
    heartbeat("tick", "coo", cwd=team)
    (team / "state" / "state.db").write_bytes(content)
    for words in (["worklist", "coo", "--json"], ["tick", "coo", "--json"], ["tick", "coo", "--json"]):
        done = heartbeat(*words, cwd=team)
        assert done.code == 0
        assert [alarm["code"] for alarm in done.json["alarms"]] == ["memory-lost"]
        assert "memory-lost" in done.err
    assert "memory-lost" in heartbeat("receipts", cwd=team).err
    assert "memory-lost" in heartbeat("tick", "coo", cwd=team).out
    failing = heartbeat("doctor", cwd=team)
    assert failing.code == 1
    assert "--accept-loss NAME" in " ".join(failing.out.split())
    accepted = heartbeat("doctor", "--accept-loss", "Vincent", cwd=team)
    assert (accepted.code, accepted.out.startswith("accepted by Vincent: ")) == (0, True)
    assert heartbeat("tick", "coo", "--json", cwd=team).json["alarms"] == []
    assert heartbeat("doctor", cwd=team).code == 0
    assert "nothing to accept" in heartbeat("doctor", "--accept-loss", "Vincent", cwd=team).out


def test_the_doctor_fails_where_every_beat_would(team: Path) -> None:
    (team / "file").write_text("")
    done = heartbeat("doctor", cwd=team, HEARTBEAT_HOME=str(team / "file" / "state"))
    assert done.code == 1
    assert "cannot be written: every beat fails" in " ".join(done.out.split())


def test_the_doctor_sees_a_file_that_is_not_as_rendered_and_says_what_to_type(team: Path) -> None:
    told = heartbeat("doctor", "--json", cwd=team).json["checks"]
    assert [each["area"] for each in told if each["message"] == "missing"] == ["coo", "architect", "costcodev"]
    assert "coo, architect, costcodev" in heartbeat("doctor", cwd=team).out
    heartbeat("render", "--all", cwd=team)
    assert "HEARTBEAT.md" not in heartbeat("doctor", cwd=team).out
    path = team / "workspaces" / "coo" / "HEARTBEAT.md"
    path.write_text(path.read_text().replace("心跳频率", "频率"))
    (team / "workspaces" / "architect" / "HEARTBEAT.md").write_text("mine\n")
    checks = heartbeat("doctor", "--json", cwd=team).json["checks"]
    found = {check["area"]: check for check in checks if check["subject"] == "HEARTBEAT.md"}
    assert "edited by hand" in found["coo"]["message"]
    assert f"--roster {team / 'agents.yaml'} render coo" in found["coo"]["advice"]
    assert set(found) == {"coo", "architect"}


def test_the_doctor_names_a_record_that_cannot_be_read(team: Path) -> None:
    board = json.loads((team / "workboard.json").read_text())
    del board["cards"][0]["id"]
    (team / "workboard.json").write_text(json.dumps(board))
    done = heartbeat("doctor", cwd=team)
    assert "1 unreadable: one without an id" in done.out
    assert "1 unreadable" in heartbeat("worklist", "coo", cwd=team).out


def test_S2_what_was_closed_is_counted_and_not_listed_while_its_source_is_down(team: Path) -> None:
    heartbeat("tick", "coo", cwd=team)
    (team / "workboard.json").write_text("")
    shown = heartbeat("worklist", "coo", cwd=team).out
    assert "年终合同模板归档" not in shown
    assert "- 1 more were closed when they were last read" in shown
    assert "it said todo" in shown
    keys = [task["title"] for task in heartbeat("worklist", "coo", "--json", cwd=team).json["tasks"]]
    assert "年终合同模板归档" in keys


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_S4_a_stopped_beat_ends_its_child_and_leaves_a_receipt(team: Path, number: int, code: int) -> None:
    programs, told = team / "bin", team / "told"
    programs.mkdir()
    os.mkfifo(told)
    program = programs / "openclaw"
    program.write_text(f"#!/bin/sh\ntrap '' TERM\necho $$ > {told}\nwhile :; do sleep 1; done\n")
    program.chmod(0o755)
    roster = team / "agents.yaml"
    text = roster.read_text().replace("{transport: file, path: workboard.json}", "{transport: cli}")
    roster.write_text(text)
    environment = {"HOME": str(team), "PATH": f"{programs}:/usr/bin:/bin"}
    command = [sys.executable, "-m", "heartbeat", "--roster", str(roster), "tick", "coo"]
    beat = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_heed_interrupts,
    )
    child = os.pidfd_open(int(told.read_text()))
    beat.send_signal(number)
    assert beat.wait(timeout=30) == code
    assert _ended(child)
    (receipt,) = heartbeat("receipts", "--json", cwd=team).json["receipts"]
    assert receipt["outcome"] == "interrupted"
    listed = " ".join(heartbeat("receipts", cwd=team).out.split())
    assert "its slot is still open" in listed
    assert "one more in its slot" not in listed
    health = heartbeat("health", cwd=team)
    assert "none of its beats has come to its end: ended from outside once since" in " ".join(health.out.split())
    assert "never beaten" not in " ".join(health.out.split()).split("coo", 1)[1].split("architect", 1)[0]
    assert "no beat has come to its end yet, so that nothing is known" in " ".join(health.out.split())


def _heed_interrupts() -> None:
    """A test run in the background passes on to its children that interrupts are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _ended(process: int) -> bool:
    """Whether a process that was ended is gone soon; what the kernel still has to clear away takes a moment."""
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    try:
        return bool(waiting.poll(30_000))
    finally:
        os.close(process)


def test_B5_output_that_cannot_be_written_is_no_bug(team: Path) -> None:
    command = [sys.executable, "-m", "heartbeat", "--roster", str(team / "agents.yaml"), "tick", "coo"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 73
    assert "the output could not be written" in done.stderr
    assert "bug" not in done.stderr
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], capture_output=True, text=True, check=False)
    assert closed.returncode == 0, closed.stderr
