"""The cases that `heartbeat demo` plays: a small team, one scenario each, and what there is to see in it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from heartbeat.roster.load import load_roster
from heartbeat.simulate.run import Result, run
from heartbeat.simulate.scenario_file import load_scenario


@dataclass(frozen=True, slots=True)
class Case:
    """`file` is the scenario, packaged beside the team's roster. `before` and `after` are said around the story."""

    file: str
    title: str
    before: str
    after: str


CASES: Mapping[str, Case] = {
    "stall": Case(
        "stalled.yaml",
        "A task that stalls",
        "Agent writer takes up a task and falls silent; so it does again whenever it gets the task back. "
        "Every 10 minutes heartbeat looks, without asking a model.",
        "First a nudge, then the task goes back to where it can be taken up again; the third time within a day it "
        "waits for a person instead of going round for ever.",
    ),
    "failover": Case(
        "failover.yaml",
        "Providers that fail",
        "heartbeat starts agent writer on its task: one turn at a time, and at its next look it learns what became of "
        "it. Then both providers of its model break down, each in its own way.",
        "Nothing was lost and nothing was asked in vain again and again: the task went back to the list as a dead "
        "letter, and was finished as soon as one provider answered.",
    ),
}
"""By the name that is typed."""


def play_case(case: Case) -> Result:
    """The case as it goes every time: real beats over a scripted world, in memory and a directory that goes again."""
    packaged = files("heartbeat.sample") / "cases"
    with as_file(packaged) as folder, tempfile.TemporaryDirectory(prefix="heartbeat-demo-") as scratch:
        roster = load_roster(folder / "agents.yaml", {})
        return run(load_scenario(folder / case.file, roster), roster, Path(scratch))
