"""Nothing that the tests start outlives them, even where they are killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import supervisor

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes by /proc")

PATIENCE = 0.3


@contextlib.contextmanager
def supervised(home: Path, command: str) -> Iterator[subprocess.Popen[str]]:
    log = home / "log"
    process = subprocess.Popen(
        [sys.executable, "-E", "-s", supervisor.__file__, str(home), str(log), str(PATIENCE), "sh", "-c", command],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert int(process.stdout.readline()) > 0
        yield process


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def is_up(home: Path) -> bool:
    log = home / "log"
    return log.exists() and "up" in log.read_text()


def wait_until_up(home: Path) -> None:
    until = time.monotonic() + 30
    while not is_up(home):
        assert time.monotonic() < until


def test_stop_ends_the_command_and_keeps_its_files(home: Path) -> None:
    with supervised(home, "echo up; sleep 60") as process:
        wait_until_up(home)
        assert process.stdin is not None
        process.stdin.write("stop\n")
        process.stdin.close()
        assert process.wait(30) == 128 + 15
    assert home.exists()
    assert list(supervisor.processes_at_home(str(home))) == []


def test_a_command_that_will_not_end_is_killed(home: Path) -> None:
    with supervised(home, "trap '' TERM; echo up; sleep 60; sleep 60") as process:
        wait_until_up(home)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 128 + 9
    assert not home.exists()


def test_the_death_of_the_tests_ends_the_command_and_removes_its_files(home: Path) -> None:
    with supervised(home, "setsid sleep 60 & echo up; sleep 60") as process:
        wait_until_up(home)
        assert len(list(supervisor.processes_at_home(str(home)))) >= 3
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
    assert not home.exists()
    assert list(supervisor.processes_at_home(str(home))) == []


def test_a_command_that_ends_by_itself_ends_its_supervisor(home: Path) -> None:
    with supervised(home, "setsid sleep 60 & exit 7") as process:
        assert process.wait(30) == 7
    assert home.exists()
    assert list(supervisor.processes_at_home(str(home))) == []
