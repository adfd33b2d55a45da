"""One look at all sources: each with its own deadline; what one of them does stops no other (S1 to S5)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import UsageError
from heartbeat.roster.model import Roster
from heartbeat.sweep import Sweep, sweep
from heartbeat.systems.base import (
    Deadline,
    FailureKind,
    Probe,
    Reading,
    ReadStatus,
    Source,
    SourceReport,
    TransportError,
)
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import Item
from tests.support.items import NOW, card, issue, line
from tests.support.rosters import make_coo, make_roster


@dataclass(frozen=True)
class Double:
    """A source that gives what it is told to, raises it, or waits for ever."""

    name: str
    answer: Any
    identity: str = "double"
    shareable: bool = False

    def read(self, deadline: Deadline, now: datetime) -> Reading:
        if isinstance(self.answer, threading.Event):
            self.answer.wait(60)
            return Reading(SourceReport(self.name, ReadStatus.COMPLETE))
        if isinstance(self.answer, Exception):
            raise self.answer
        items: tuple[Item, ...] = tuple(self.answer)
        return Reading(SourceReport(self.name, ReadStatus.COMPLETE, "double", items=len(items), read_at=now), items)

    def probe(self, deadline: Deadline) -> tuple[Probe, ...]:
        return ()


def swept(tmp_path: Path, timeout: float = 30.0, **answers: Any) -> Sweep:
    roster = replace(make_roster(make_coo()), sources={name: {"timeout": timeout} for name in answers})

    def build(name: str, roster: Roster, environment: Mapping[str, str]) -> Source:
        if isinstance(answers[name], UsageError):
            raise answers[name]
        return Double(name, answers[name])

    cache = SnapshotCache(tmp_path / "snapshots")
    deadline = Deadline.after(30)
    return sweep(roster, {}, cache, now=NOW, deadline=deadline, ttl=timedelta(0), fresh=False, build=build)


def test_S2_a_source_that_hangs_is_left_at_its_deadline_and_the_others_are_read(tmp_path: Path) -> None:
    release = threading.Event()
    seen = swept(tmp_path, timeout=0.2, workboard=release, multica=[issue(1, "a")], todo=[line(1, "b")])
    release.set()
    assert [report.status for report in seen.reports] == [ReadStatus.FAILED, ReadStatus.COMPLETE, ReadStatus.COMPLETE]
    assert seen.reports[0].kind is FailureKind.TIMEOUT
    assert "0.2s" in seen.reports[0].message
    assert seen.degraded
    assert seen.incomplete == {"workboard"}
    assert [item.title for item in seen.sight().items] == ["a", "b"]


def test_S2_what_hung_is_shown_as_it_was_last_read(tmp_path: Path) -> None:
    swept(tmp_path, workboard=[card(1, "a")])
    release = threading.Event()
    seen = swept(tmp_path, timeout=0.2, workboard=release)
    release.set()
    assert [item.title for item in seen.sight().stale] == ["a"]
    assert seen.sight().stale_since == {"workboard": "0s ago"}


def test_S1_a_source_that_breaks_is_a_failed_source_and_no_failed_beat(tmp_path: Path) -> None:
    seen = swept(tmp_path, workboard=ZeroDivisionError("oops"), todo=[line(1, "b")])
    assert seen.reports[0].kind is FailureKind.BUG
    assert "ZeroDivisionError: oops" in seen.reports[0].message
    assert len(seen.sight().items) == 1


def test_R1_a_source_that_is_not_installed_is_a_mistake_in_the_roster(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no source called"):
        swept(tmp_path, jira=UsageError("no source called 'jira' is installed"))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (replace(card(2, "twice"), ref=card(1, "a").ref), "came twice"),
        (issue(7, "foreign"), "not of this source"),
        (replace(card(2, "b"), created_at=datetime(2026, 11, 21)), "no zone"),  # noqa: DTZ001 - that is the point
    ],
)
def test_S10_an_item_that_breaks_the_rules_of_items_is_rejected_and_counted(
    tmp_path: Path, bad: Item, reason: str
) -> None:
    seen = swept(tmp_path, workboard=[card(1, "a"), bad])
    sight = seen.sight()
    assert [item.title for item in sight.items] == ["a"]
    assert sight.rejected == 1
    (rejected,) = seen.readings["workboard"].rejected
    assert reason in rejected.reason
    assert rejected.id in sight.unknown_ids


def test_S1_a_plug_in_that_raises_a_transport_error_is_a_failed_source_with_its_kind(tmp_path: Path) -> None:
    seen = swept(tmp_path, jira=TransportError(FailureKind.AUTH, "no entry", advice="ask"), todo=[line(1, "b")])
    jira = next(report for report in seen.reports if report.source == "jira")
    assert (jira.status, jira.kind, jira.message, jira.advice) == (
        ReadStatus.FAILED,
        FailureKind.AUTH,
        "no entry",
        "ask",
    )
