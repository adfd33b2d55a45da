"""From nothing to a team that beats by itself: one list of steps, wherever it is told."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from heartbeat.cli.init import NEXT
from tests.support.command import heartbeat

ROOT = Path(__file__).parents[2]
STEPS = [words.format(channel="ops") for words in NEXT]


def told(page: str, first: str) -> list[str]:
    """The words behind `heartbeat` of each line of the block of commands that begins so."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (each for each in blocks if each.startswith(first))
    return [line.partition("#")[0].removeprefix("heartbeat ").strip() for line in block.splitlines()]


def test_the_first_page_the_page_on_set_up_and_init_itself_name_the_same_steps_in_the_same_order() -> None:
    assert told("README.md", "heartbeat init  ") == ["init", *STEPS]
    assert told("docs/setup.md", "heartbeat roster check") == STEPS


def test_what_init_prints_is_that_list(tmp_path: Path) -> None:
    done = heartbeat("init", "--empty", cwd=tmp_path)
    assert done.code == 0
    lines = [line.strip() for line in done.out.splitlines()]
    assert lines[-len(STEPS) :] == [f"heartbeat {words}" for words in STEPS]


@pytest.mark.parametrize("words", STEPS)
def test_every_step_is_a_call_that_is_understood(words: str, tmp_path: Path) -> None:
    """Without a roster each of them ends at looking for one, and not at its own words."""
    done = heartbeat(*shlex.split(words), cwd=tmp_path, XDG_CONFIG_HOME=str(tmp_path))
    assert done.code == 2
    assert "roster" in done.err
    assert "Usage" not in done.err
