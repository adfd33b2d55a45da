"""Whoever reads the output may go before its end (`heartbeat log | head -1`): quiet, and no failure of anybody's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import heartbeat

COMMAND = [sys.executable, "-m", "heartbeat"]


def without_a_reader(team: Path, *words: str) -> tuple[int, str]:
    """The exit code, and what is said on stderr, of a command whose output nobody takes."""
    with subprocess.Popen(
        [*COMMAND, *words], cwd=team, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        return process.wait(60), said


@pytest.mark.parametrize(
    "words",
    [
        ("log",),
        ("log", "--json"),
        ("receipts",),
        ("incidents", "--json"),
        ("outbox",),
        ("tasks",),
        ("worklist", "coo"),
        ("roster", "show", "coo"),
        ("--help",),
        ("--version",),
    ],
    ids=" ".join,
)
def test_a_command_that_nobody_listens_to_ends_as_a_broken_pipe_ends_one_and_says_nothing(
    team: Path, words: tuple[str, ...]
) -> None:
    assert heartbeat("tick", "--all", cwd=team).code == 0
    code, said = without_a_reader(team, *words)
    assert (code, said) == (141, "")


def test_B5_a_real_pipe_to_head_is_quiet_and_141(team: Path) -> None:
    """With more than a pipe holds, so that the command must notice."""
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text() + "".join(f"  extra{n}: {{class: business}}\n" for n in range(700)))
    script = '"$@" | head -1; exit "${PIPESTATUS[0]}"'
    for unbuffered in ("", "1"):
        done = subprocess.run(
            ["bash", "-c", script, "bash", *COMMAND, "roster", "show", "--json"],
            cwd=team,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (141, "{\n", "")


def test_B5_what_was_found_is_never_green_because_nobody_listened(team: Path) -> None:
    assert heartbeat("tick", "--all", cwd=team).code == 0
    code, _ = without_a_reader(team, "timeouts", "--fail-on", "suspected")
    assert code != 0


def test_B5_a_beat_that_a_scheduler_does_not_listen_to_is_no_failure(team: Path) -> None:
    assert without_a_reader(team, "tick", "coo", "--scheduled") == (0, "")
    assert len(heartbeat("receipts", "--json", cwd=team).json["receipts"]) == 1


def test_an_error_is_told_as_ever(team: Path) -> None:
    code, said = without_a_reader(team, "worklist", "stranger")
    assert (code, "no agent called 'stranger'" in said) == (2, True)
