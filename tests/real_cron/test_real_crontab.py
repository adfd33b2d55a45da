"""The real `crontab` command, with tables that are hard to keep as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbeat.schedule.crontab import LONGEST_COMMAND, find_blocks
from tests.real_cron.room import Room, room, team

pytestmark = pytest.mark.cron


@pytest.fixture(scope="module")
def idle() -> Iterator[Room]:
    with room(idle=True) as found:
        yield found


@pytest.fixture
def place(idle: Room, tmp_path: Path) -> tuple[Room, Path]:
    """The room with no table in it, and a roster."""
    idle.run("crontab", "-r")
    return idle, team(tmp_path / "it's 100% a\\\\b", {"coo": "every: 10m", "writer": "every: 15m"})


TABLES = {
    "none": None,
    "plain": b"# mine\nSHELL=/bin/bash\n5 4 * * * x%in\\%put\n",
    "carriage returns": b"# a\r\n5 4 * * * true\r\n# b\n",
    "looks like carriage returns": b"# a\\r\n# \\b\n5 4 * * * echo a\\r\n",
    "both": b"# a\r\n# a\\r\n\t\n",
    "no UTF-8": b"# \xff\xfe\x80\n",
    "controls": b"# \x01\x07\x08\x1b\x7f\n",
    "a long comment": b"# " + b"x" * 5000 + b"\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_every_byte_of_others_survives_install_and_remove(name: str, place: tuple[Room, Path]) -> None:
    found, roster = place
    before = TABLES[name]
    if before is not None:
        found.put_table(before)
    assert found.table == before
    for words in (("install",), ("install", "--each"), ("remove", "coo"), ("install",)):
        done = found.heartbeat("cron", *words, "--roster", str(roster))
        assert done.returncode == 0, done.stderr
        table = found.table or b""
        assert table.endswith(before or b"")
        assert len(find_blocks(table)) == 1
    done = found.heartbeat("cron", "remove", "--roster", str(roster))
    assert done.returncode == 0, done.stderr
    assert found.table == before


def test_diff_and_a_second_install_find_nothing_to_do(place: tuple[Room, Path]) -> None:
    found, roster = place
    found.put_table(TABLES["carriage returns"] or b"")
    assert found.heartbeat("cron", "diff", "--roster", str(roster)).returncode == 1
    found.heartbeat("cron", "install", "--roster", str(roster))
    assert found.heartbeat("cron", "diff", "--roster", str(roster)).returncode == 0
    again = found.heartbeat("cron", "install", "--roster", str(roster))
    assert again.stdout == b"crontab: nothing changed\n"


def test_the_longest_line_that_we_write_is_the_longest_that_it_takes(place: tuple[Room, Path]) -> None:
    found, _ = place
    for length, code in ((LONGEST_COMMAND, 0), (LONGEST_COMMAND + 1, 1)):
        done = found.run("crontab", "-", stdin=b"* * * * * " + b"x" * length + b"\n")
        assert done.returncode == code, done.stderr


def test_one_agent_of_two_hundred_is_taken_off_and_crontab_takes_the_rest(idle: Room, tmp_path: Path) -> None:
    idle.run("crontab", "-r")
    names = [f"agent-{number:03}" for number in range(200)]
    roster = team(tmp_path / "many", dict.fromkeys(names, "every: 10m"))
    for words in (("install",), ("remove", names[7]), ("install",)):
        done = idle.heartbeat("cron", *words, "--roster", str(roster))
        assert done.returncode == 0, done.stderr
    assert done.stdout == b"crontab: nothing changed\n"
    (block,) = find_blocks(idle.table or b"")
    lines = [line.split(None, 5)[5] for line in block.text.splitlines() if " tick " in line and line.startswith("*")]
    assert len(lines) > 1
    assert max(len(line.encode()) for line in lines) <= LONGEST_COMMAND
    assert [name for line in lines for name in line.partition("--scheduled ")[2].split()] == names[:7] + names[8:]
    assert idle.heartbeat("cron", "remove", "--roster", str(roster)).returncode == 0
