"""A source whose answer ends at any byte (rules S2, S3): it failed, and nothing of it is dropped, ready or closed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.policy import ParentRule
from heartbeat.sweep import Sweep, sweep
from heartbeat.systems.base import Deadline, FailureKind, ReadStatus
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import State
from heartbeat.worklist import Bucket, assess
from tests.support.items import NOW
from tests.support.rosters import make_coo, make_roster

CARDS = {
    "cards": [
        {
            "id": f"0000000{number}-0000-4000-8000-000000000000",
            "title": f"第 {number} 张卡片",
            "status": status,
            "priority": "normal",
            "createdAt": 1795226214382,
            "updatedAt": 1795226214382,
            "agentId": "coo",
        }
        for number, status in ((1, "todo"), (2, "done"))
    ]
}
ISSUES = {
    "issues": [
        {
            "id": f"0198f0a0-7777-7000-8000-00000000000{number}",
            "identifier": f"BIZ-{number}",
            "title": f"Issue {number}",
            "status": status,
            "priority": "low",
            "assignee_type": "agent",
            "assignee_id": "1c38b437-b54d-4784-bda3-29ce4c8a6722",
            "created_at": "2026-11-20T02:00:00Z",
            "metadata": {},
        }
        for number, status in ((1, "todo"), (2, "done"))
    ],
    "runs": [],
    "squads": [],
}


def swept(source: str, path: Path, cache: SnapshotCache) -> Sweep:
    coo = make_coo(multica_id="1c38b437-b54d-4784-bda3-29ce4c8a6722")
    roster = replace(make_roster(coo), sources={source: {"transport": "file", "path": str(path)}})
    return sweep(roster, {}, cache, now=NOW, deadline=Deadline.after(30), ttl=timedelta(0), fresh=False)


@pytest.mark.parametrize(("source", "document"), [("workboard", CARDS), ("multica", ISSUES)])
def test_S2_S3_an_answer_cut_at_any_byte_is_a_failure_and_its_work_is_unknown(
    tmp_path: Path, source: str, document: dict[str, Any]
) -> None:
    path = tmp_path / "saved.json"
    whole = json.dumps(document, ensure_ascii=False).encode()
    path.write_bytes(whole)
    cache = SnapshotCache(tmp_path / "snapshots")
    before = swept(source, path, cache)
    assert [report.status for report in before.reports] == [ReadStatus.COMPLETE]
    refs = {item.ref for item in before.sight().items}
    assert len(refs) == 2
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        after = swept(source, path, cache)
        (report,) = after.reports
        assert (report.status, report.kind) == (ReadStatus.FAILED, FailureKind.BAD_OUTPUT), whole[:end]
        standings = assess(after.sight(), now=NOW, parent_rule=ParentRule.STARTED).standings
        assert {ref for standing in standings for ref in standing.task.refs} == refs
        assert {standing.state for standing in standings} == {State.UNKNOWN}
        assert {standing.bucket for standing in standings} == {Bucket.PRESENTED}
