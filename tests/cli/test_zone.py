"""One zone for all that people read, named; JSON and what agents and logs read is in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from freezegun import freeze_time

from heartbeat.breaker import Breaker, State
from heartbeat.cli import zone
from tests.support.command import Result, heartbeat
from tests.support.operations import AT, INCIDENT, MINUTE, NOW, put_turns, remembering, spent, write_entry

IN_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|\bUTC\b")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    zone.use("")


@pytest.fixture
def eventful(team: Path) -> Path:
    """A team of which every screen has instants to tell: a hold, a pause, a breaker, turns, incidents, entries."""
    with freeze_time(AT):
        assert heartbeat("hold", "BIZ-28", "--for", "40m", "--why", "build", cwd=team).code == 0
        assert heartbeat("pause", "costcodev", "--for", "2h", "--why", "migration", cwd=team).code == 0
    with remembering(team) as store:
        store.put_incident(INCIDENT)
        store.put_rounds([spent()])
        put_turns(store)
        store.enqueue([write_entry("1a2b3c4d/recover/multica:28", incident=INCIDENT.id)])
        store.put_breaker(Breaker("native", State.OPEN, 3, 1, NOW + 4 * MINUTE, why="500", changed_at=NOW - MINUTE))
        store.put_breaker(Breaker("openclaw", State.CLOSED, cooled_until=NOW + MINUTE))
    return team


def at_four(team: Path, *words: str) -> Result:
    with freeze_time(AT):
        return heartbeat(*words, cwd=team)


@pytest.mark.parametrize(
    "words",
    [
        ("tick", "--all", "--dry-run"),
        ("tasks", "--all"),
        ("timeouts",),
        ("explain", "BIZ-28"),
        ("explain", "BIZ-31"),
        ("doctor",),
        ("health",),
        ("incidents",),
        ("outbox",),
        ("log",),
        ("attempts",),
        ("dlq",),
        ("providers",),
        ("pause",),
        ("rounds",),
        ("receipts",),
        ("start", "BIZ-28", "--as", "architect"),
        ("tasks", "--at", "2026-11-21T04:00Z"),
    ],
    ids=" ".join,
)
def test_no_screen_tells_one_time_in_utc_beside_others_in_the_rosters_zone(
    eventful: Path, words: tuple[str, ...]
) -> None:
    done = at_four(eventful, *words)
    assert done.code in (0, 1, 3), done.err
    assert IN_UTC.findall(done.out + done.err) == []


def test_a_sentence_of_the_rules_is_told_in_the_rosters_zone_and_its_json_in_utc(eventful: Path) -> None:
    assert "held until 2026-11-21 12:40:00 CST" in at_four(eventful, "explain", "BIZ-28").out
    assert "held until 2026-11-21T04:40:00.000Z" in at_four(eventful, "explain", "BIZ-28", "--json").out


def test_an_error_tells_the_rosters_zone_and_its_json_utc(eventful: Path) -> None:
    done = at_four(eventful, "dlq", "drop", "dl-0123", "--why", "x")
    assert done.code == 0
    again = at_four(eventful, "dlq", "drop", "dl-0123", "--why", "x", "--json")
    assert again.code == 1
    assert "since 2026-11-21 12:00:00 CST" in again.err
    assert "since 2026-11-21T04:00:00.000Z" in again.json["message"]


def test_what_a_log_and_an_agent_read_is_in_utc(eventful: Path) -> None:
    assert " CST" not in at_four(eventful, "tick", "--all", "--scheduled").out
    assert " CST" not in at_four(eventful, "worklist", "coo").out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("until 2026-12-01T01:00:00.000Z, then", "until 2026-12-01 09:00:00 CST, then"),
        ("2026-02-31T01:00:00.000Z", "2026-02-31T01:00:00.000Z"),
        ("as somebody wrote: 2026-12-01T01:00:00Z", "as somebody wrote: 2026-12-01T01:00:00Z"),
    ],
)
def test_only_instants_that_heartbeat_writes_are_told_otherwise(text: str, told: str) -> None:
    zone.use("Asia/Shanghai")
    assert zone.shown(text) == told
    zone.use("")
    assert zone.shown(text) == text
