"""The numbers of docs/benchmarks.md: how one beat grows with its items, and what it costs beside OpenClaw's CLI.

    python benchmarks/run.py [--openclaw PATH] [--write]

Boards are made in a temporary directory; each measurement is a process of its own, so that its time and memory are its
own. With --openclaw (or `openclaw` on PATH) times are also given as ratios to one `openclaw workboard list --json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SIZES = (10_000, 100_000)
ITEM_BYTES = 500
REPEATS = 3
DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
AGENTS = ("coo", "architect", "costcodev", "designer", "lawyer")
CREATED = 1_795_226_000_000

ROSTER = """
version: 1
state: state
sources:
  workboard: {transport: file, path: workboard.json}
  multica: {transport: file, path: multica.json}
agents:
"""


@dataclass(frozen=True)
class Cost:
    """What one process took: seconds of wall clock, seconds of CPU, peak memory in MiB."""

    wall: float
    cpu: float
    memory: float


def measure(command: Sequence[str], directory: Path, environment: dict[str, str]) -> Cost:
    """Run the command once; its output goes nowhere."""
    began = time.perf_counter()
    child = subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {child.returncode}")
    return Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def best(command: Sequence[str], directory: Path, environment: dict[str, str]) -> Cost:
    """The quickest of a few runs, and the largest memory of them."""
    runs = [measure(command, directory, environment) for _ in range(REPEATS)]
    return Cost(min(run.wall for run in runs), min(run.cpu for run in runs), max(run.memory for run in runs))


def card(number: int) -> dict[str, object]:
    """A WorkBoard card of about half a kilobyte."""
    status = ("todo", "running", "done", "backlog", "review")[number % 5]
    record: dict[str, object] = {
        "id": f"{number:08x}-0000-4000-8000-{number:012x}",
        "title": f"Card {number}: check region {number * 7919 % 100_003}",
        "status": status,
        "priority": ("low", "normal", "high", "urgent")[number % 4],
        "labels": [],
        "position": number * 1000,
        "createdAt": CREATED + number,
        "updatedAt": CREATED + number,
        "agentId": AGENTS[number % len(AGENTS)],
        "events": [{"id": f"e{number}", "kind": "created", "at": CREATED + number, "toStatus": "todo"}],
    }
    return padded(record, "notes")


def issue(number: int) -> dict[str, object]:
    """A Multica issue of about half a kilobyte."""
    status = ("todo", "in_progress", "done", "backlog", "blocked")[number % 5]
    record: dict[str, object] = {
        "id": f"0198f0a0-7777-7000-8000-{number:012d}",
        "number": number,
        "identifier": f"BIZ-{number}",
        "title": f"Issue {number}: compare batch {number * 104_729 % 1_000_003}",
        "status": status,
        "status_category": status,
        "priority": ("low", "medium", "high", "urgent")[number % 4],
        "assignee_type": None,
        "assignee_id": None,
        "created_at": "2026-11-20T02:00:00Z",
        "updated_at": "2026-11-20T02:00:00Z",
        "revision": 1,
        "metadata": {},
    }
    return padded(record, "description")


def padded(record: dict[str, object], field: str) -> dict[str, object]:
    """The record with a text that brings it to the wanted size."""
    missing = ITEM_BYTES - len(json.dumps(record)) - len(field) - 6
    record[field] = "x" * max(0, missing)
    return record


def fill(directory: Path, items: int) -> None:
    """A board of half cards, half issues, and a roster to read them with."""
    half = items // 2
    write(directory / "workboard.json", "cards", (card(number) for number in range(1, half + 1)))
    write(directory / "multica.json", "issues", (issue(number) for number in range(1, half + 1)))
    team = "".join(f"  {agent}: {{name: {agent}, class: developer, notify: [self]}}\n" for agent in AGENTS)
    (directory / "agents.yaml").write_text(ROSTER + team)


def write(path: Path, name: str, records: Iterable[dict[str, object]]) -> None:
    """One record at a time: what this process holds in memory would count for the children that it starts."""
    with path.open("w") as file:
        file.write(f'{{"{name}": [')
        for number, record in enumerate(records):
            file.write(f"{',' if number else ''}{json.dumps(record)}")
        file.write("]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--openclaw", default=shutil.which("openclaw"), help="the openclaw executable to compare with")
    parser.add_argument("--write", action="store_true", help=f"write {DOCUMENT.name} instead of printing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heartbeat-bench-") as scratch:
        text = report(Path(scratch), arguments.openclaw)
    if arguments.write:
        DOCUMENT.write_text(text)
    else:
        print(text)


def report(scratch: Path, openclaw: str | None) -> str:
    """The whole document."""
    environment = {**os.environ, "HOME": str(scratch), "HEARTBEAT_HOME": ""}
    heartbeat = [sys.executable, "-m", "heartbeat"]
    costs: dict[str, Cost] = {}
    for items in SIZES:
        directory = scratch / str(items)
        directory.mkdir()
        fill(directory, items)
        print(f"one beat over {items} items …", file=sys.stderr)
        costs[f"`tick coo`, {items:,} items"] = best([*heartbeat, "tick", "coo", "--json"], directory, environment)
    small, large = (costs[f"`tick coo`, {items:,} items"] for items in SIZES)
    (scratch / "demo").mkdir()
    costs["`demo`"] = best([*heartbeat, "demo"], scratch / "demo", environment)
    costs["`--version`"] = best([*heartbeat, "--version"], scratch / "demo", environment)
    unit = None
    if openclaw is not None:
        print("one `openclaw workboard list --json` …", file=sys.stderr)
        subprocess.run([openclaw, "plugins", "enable", "workboard"], env=environment, check=True, capture_output=True)
        unit = best([openclaw, "workboard", "list", "--json"], scratch, environment)
    return document(costs, small, large, unit)


def document(costs: dict[str, Cost], small: Cost, large: Cost, unit: Cost | None) -> str:
    """Markdown: ratios of one run on one machine, which is all that such numbers are good for."""
    head = "| what | time | CPU | peak memory |\n| --- | --- | --- | --- |\n"
    rows = [f"| {name} | {told(cost, unit)} | {cost.memory:.0f} MiB |" for name, cost in costs.items()]
    if unit is not None:
        rows.append(
            f"| `openclaw workboard list --json`, an empty board | {told(unit, unit)} | {unit.memory:.0f} MiB |"
        )
    measure_of = (
        "times are ratios to one `openclaw workboard list --json` on an empty board, measured in the same run"
        if unit
        else "times are seconds on one machine"
    )
    growth = large.wall / small.wall
    return (
        "# Benchmarks\n\n"
        "Made by `make bench` (benchmarks/run.py --write writes this page): the quickest of "
        f"{REPEATS} runs, each a process of its own; {measure_of}.\n"
        f"Items are records of {ITEM_BYTES} bytes in saved files, half WorkBoard cards and half Multica issues.\n\n"
        f"{head}" + "\n".join(rows) + "\n\n"
        f"Ten times the items take {growth:.1f} times as long (the aim is at most 12), and the larger board needs "
        f"{large.memory:.0f} MiB (the aim is at most 512).\n"
    )


def told(cost: Cost, unit: Cost | None) -> str:
    if unit is None:
        return f"{cost.wall:.2f} s | {cost.cpu:.2f} s"
    return f"{cost.wall / unit.wall:.2f} | {cost.cpu / unit.cpu:.2f}"


if __name__ == "__main__":
    main()
