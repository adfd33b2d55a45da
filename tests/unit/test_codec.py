"""The codec gives back exactly what it was given, by way of JSON text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.systems import codec
from heartbeat.systems.base import Attempt, FailureKind, ReadStatus, Rejected, SourceReport
from heartbeat.task import (
    Dependency,
    DependencyKind,
    Evidence,
    EvidenceKind,
    Finding,
    Item,
    Owner,
    OwnerKind,
    Presence,
    Priority,
    Ref,
    Status,
)

NOW = datetime(2026, 11, 21, 4, 0, 0, 123456, tzinfo=UTC)

texts = st.text(st.characters(), max_size=8)
"""Every character a Python string can hold, lone surrogates and NUL included."""
instants = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-3.5))]))
refs = st.builds(Ref, texts, texts)
tuples_of_text = st.lists(texts, max_size=2).map(tuple)
items = st.builds(
    Item,
    ref=refs,
    key=texts,
    title=texts,
    status=st.sampled_from(Status),
    raw_status=texts,
    priority=st.sampled_from(Priority),
    owner=st.builds(Owner, st.sampled_from(OwnerKind), texts),
    created_at=st.none() | instants,
    updated_at=st.none() | instants,
    started_at=st.none() | instants,
    due=st.none() | st.dates(),
    not_before=st.none() | instants,
    archived=st.booleans(),
    url=st.none() | texts,
    location=st.none() | texts,
    revision=st.none() | texts,
    aliases=tuples_of_text,
    mentions=tuples_of_text,
    depends_on=st.lists(st.builds(Dependency, st.sampled_from(DependencyKind), texts), max_size=2).map(tuple),
    parent=st.none() | texts,
    stage=st.none() | st.integers(),
    creator=st.builds(Owner, st.sampled_from(OwnerKind), texts),
    reclaimed=st.booleans(),
)
evidence = st.builds(Evidence, refs, instants, st.sampled_from(EvidenceKind), texts, st.booleans())
presences = st.builds(
    Presence, texts, st.booleans(), st.none() | instants, texts, st.none() | refs, st.none() | instants
)
rejected = st.builds(Rejected, texts, st.none() | texts, texts, texts)
findings = st.builds(Finding, texts, texts, st.lists(refs, max_size=2).map(tuple))
kinds = st.none() | st.sampled_from(FailureKind)
reports = st.builds(
    SourceReport,
    source=texts,
    status=st.sampled_from(ReadStatus),
    transport=st.none() | texts,
    kind=kinds,
    message=texts,
    advice=texts,
    items=st.integers(0),
    read_at=st.none() | instants,
    findings=st.lists(findings, max_size=2).map(tuple),
    unknown_ids=tuples_of_text,
    tried=st.lists(st.builds(Attempt, texts, kinds, texts, texts), max_size=2).map(tuple),
)

FULL_ITEM = Item(
    ref=Ref("multica", "i-1"),
    key="BIZ-31",
    title="周报",
    status=Status.IN_PROGRESS,
    raw_status="running",
    priority=Priority.URGENT,
    owner=Owner(OwnerKind.AGENT, "coo"),
    created_at=NOW,
    updated_at=NOW,
    started_at=NOW,
    due=date(2026, 12, 1),
    not_before=NOW,
    archived=True,
    url="https://multica.example/i-1",
    location="TODO.md:12",
    revision="r7",
    aliases=("BIZ-31",),
    mentions=("c0ffee00",),
    depends_on=(Dependency(DependencyKind.STAGE, "BIZ-30"),),
    parent="i-0",
    stage=2,
    creator=Owner(OwnerKind.PERSON, "vincent"),
    reclaimed=True,
)
FULL_PRESENCE = Presence("coo", True, NOW, "agent:coo:main", Ref("multica", "i-1"), NOW)
FULL_REPORT = SourceReport(
    source="multica",
    status=ReadStatus.PARTIAL,
    transport="api",
    kind=FailureKind.INCOMPLETE,
    message="page 2 did not come",
    advice="wait",
    items=7,
    read_at=NOW,
    findings=(Finding("clock-skew", "ahead", (Ref("multica", "i-1"),)),),
    unknown_ids=("i-9",),
    tried=(Attempt("cli", FailureKind.TIMEOUT, "hangs", "kill it"),),
    agents=("coo",),
)


def through_json(record: dict[str, Any]) -> Any:
    return json.loads(json.dumps(record, ensure_ascii=False, allow_nan=False))


@given(items)
def test_an_item_survives_exactly(item: Item) -> None:
    assert codec.decode_item(through_json(codec.encode_item(item))) == item


@given(evidence)
def test_evidence_survives_exactly(evidence: Evidence) -> None:
    assert codec.decode_evidence(through_json(codec.encode_evidence(evidence))) == evidence


@given(presences)
def test_T7_who_is_at_work_survives_exactly(presence: Presence) -> None:
    assert codec.decode_presence(through_json(codec.encode_presence(presence))) == presence


def test_B4_what_was_kept_before_anybody_listened_for_talks_still_loads() -> None:
    record = {"agent": "coo", "active": False, "at": "2026-11-21T04:00:00+00:00", "id": "agent:coo:main"}
    kept = codec.decode_presence(record)
    assert (kept.agent, kept.talked_at) == ("coo", None)
    assert codec.encode_presence(kept) == record


@given(rejected)
def test_S10_a_rejected_record_survives_exactly(rejected: Rejected) -> None:
    assert codec.decode_rejected(through_json(codec.encode_rejected(rejected))) == rejected


@given(findings)
def test_a_finding_survives_exactly(finding: Finding) -> None:
    assert codec.decode_finding(through_json(codec.encode_finding(finding))) == finding


@given(reports)
def test_a_report_survives_exactly(report: SourceReport) -> None:
    assert codec.decode_report(through_json(codec.encode_report(report))) == report


@pytest.mark.parametrize(
    ("full", "there_and_back"),
    [
        (FULL_ITEM, lambda full: codec.decode_item(codec.encode_item(full))),
        (FULL_REPORT, lambda full: codec.decode_report(codec.encode_report(full))),
        (FULL_PRESENCE, lambda full: codec.decode_presence(codec.encode_presence(full))),
    ],
)
def test_no_field_is_forgotten_when_the_vocabulary_grows(full: Any, there_and_back: Callable[[Any], Any]) -> None:
    back = there_and_back(full)
    for each in fields(full):
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        assert getattr(full, each.name) != default, f"give {each.name} a value in this test"
        assert getattr(back, each.name) == getattr(full, each.name)


def test_what_is_not_known_takes_no_room() -> None:
    bare = Item(Ref("todo", "a"), "a", "b", Status.TODO, "[ ]", Priority.NONE, Owner(OwnerKind.NOBODY))
    assert set(codec.encode_item(bare)) == {"ref", "key", "title", "status", "raw_status", "priority", "owner"}


def test_S8_an_instant_without_a_zone_is_refused_in_both_directions() -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="time zone"):
        codec.encode_item(replace(FULL_ITEM, created_at=naive))
    with pytest.raises(ValueError, match="time zone"):
        codec.decode_item(codec.encode_item(FULL_ITEM) | {"created_at": naive.isoformat()})


@pytest.mark.parametrize(
    "change",
    [
        {"status": "elsewhere"},
        {"status": ["todo"]},
        {"priority": None},
        {"owner": ["agent"]},
        {"owner": ["robot", "x"]},
        {"owner": ["agent", 7]},
        {"ref": "multica:i-1"},
        {"ref": ["multica", "i-1", "more"]},
        {"raw_status": 3},
        {"created_at": "yesterday"},
        {"created_at": 1},
        {"due": "2026-13-01"},
        {"depends_on": [["wish", "BIZ-1"]]},
    ],
)
def test_a_record_that_no_encoder_made_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        codec.decode_item(codec.encode_item(FULL_ITEM) | change)


@pytest.mark.parametrize("name", ["ref", "key", "title", "status", "raw_status", "priority", "owner"])
def test_an_item_without_a_required_field_is_refused(name: str) -> None:
    record = codec.encode_item(FULL_ITEM)
    del record[name]
    with pytest.raises(KeyError):
        codec.decode_item(record)
