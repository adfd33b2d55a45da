"""Multica issues as items: rules S6, S6a, S7, S8, M1a and D1, and what becomes of records that make no sense."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.systems.base import Fetched, Translated
from heartbeat.systems.multica.issues import translate
from heartbeat.task import (
    NOBODY,
    Dependency,
    DependencyKind,
    Evidence,
    EvidenceKind,
    Item,
    Owner,
    OwnerKind,
    Presence,
    Priority,
    Ref,
    Status,
)
from tests.support.fake_multica_records import BOB, REVIEWER

CODEX = "0198f0a0-3333-7000-8000-00000000000a"
CORE_SQUAD = "0198f0a0-4444-7000-8000-00000000000a"
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
ISSUE_ID = "0198f0a0-7777-7000-8000-000000000045"
PARENT_ID = "0198f0a0-7777-7000-8000-000000000041"
AGENTS = {CODEX: "architect"}
SQUADS = [{"id": CORE_SQUAD, "leader_id": CODEX}]
REF = Ref("multica", ISSUE_ID)


def record(**changes: Any) -> dict[str, Any]:
    """An issue as a present-day server sends it; `ABSENT` takes a key away."""
    whole = {
        "id": ISSUE_ID,
        "identifier": "ACM-45",
        "title": "登录页报错",
        "status": "todo",
        "status_category": "todo",
        "priority": "urgent",
        "assignee_type": "agent",
        "assignee_id": CODEX,
        "parent_issue_id": None,
        "stage": None,
        "due_date": None,
        "created_at": "2026-11-20T08:00:00Z",
        "updated_at": "2026-11-20T09:00:00Z",
        "revision": 4,
        "last_activity_at": "2026-11-20T09:00:00.5Z",
        "metadata": {},
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not ABSENT}


ABSENT = object()


def run(**changes: Any) -> dict[str, Any]:
    return {
        "id": "run-1",
        "issue_id": ISSUE_ID,
        "agent_id": CODEX,
        "status": "running",
        "dispatched_at": "2026-11-21T03:01:00Z",
        "started_at": "2026-11-21T03:02:00Z",
        "created_at": "2026-11-21T03:00:00Z",
        **changes,
    }


def read(*records: Any, squads: Any = SQUADS, runs: Any = (), **extra: Any) -> Translated:
    named = {"squads": squads, "runs": list(runs) if isinstance(runs, tuple) else runs, **extra}
    return translate(Fetched(records, extra=named), NOW, agents=AGENTS)


def item(**changes: Any) -> Item:
    (only,) = read(record(**changes)).items
    return only


def codes(translated: Translated) -> set[str]:
    return {finding.code for finding in translated.findings}


def test_an_issue_becomes_an_item() -> None:
    assert item(parent_issue_id=PARENT_ID, stage=2, due_date="2026-12-01") == Item(
        ref=REF,
        key="ACM-45",
        title="登录页报错",
        status=Status.TODO,
        raw_status="todo",
        priority=Priority.URGENT,
        owner=Owner(OwnerKind.AGENT, "architect"),
        created_at=datetime(2026, 11, 20, 8, tzinfo=UTC),
        updated_at=datetime(2026, 11, 20, 9, tzinfo=UTC),
        due=date(2026, 12, 1),
        revision="4",
        aliases=("ACM-45", ISSUE_ID),
        depends_on=(Dependency(DependencyKind.PARENT, PARENT_ID),),
        parent=PARENT_ID,
        stage=2,
    )


@pytest.mark.parametrize("key", [status for status in Status if status is not Status.UNKNOWN])
def test_S6_the_seven_statuses_are_themselves(key: Status) -> None:
    assert item(status=key.value, status_category=key.value).status is key


def test_S6_a_custom_status_counts_as_its_category_and_keeps_its_name() -> None:
    custom = item(status="human_review", status_category="in_review")
    assert custom.status is Status.IN_REVIEW
    assert custom.raw_status == "human_review"


@pytest.mark.parametrize("category", [ABSENT, None, ""])
def test_S6_an_old_server_without_categories_is_read_by_its_statuses(category: object) -> None:
    assert item(status="blocked", status_category=category).status is Status.BLOCKED


@pytest.mark.parametrize("category", [ABSENT, "qa", "Done", 7])
def test_S6_a_status_that_nobody_knows_is_unknown_and_said(category: object) -> None:
    translated = read(record(status="qa", status_category=category))
    assert translated.items[0].status is Status.UNKNOWN
    assert translated.items[0].raw_status == "qa"
    assert codes(translated) == {"unknown-status"}


@pytest.mark.parametrize(
    ("word", "priority"),
    [
        ("urgent", Priority.URGENT),
        ("high", Priority.HIGH),
        ("medium", Priority.NORMAL),
        ("low", Priority.LOW),
        ("none", Priority.NONE),
        (None, Priority.NONE),
        (["high"], Priority.NONE),
    ],
)
def test_S7_medium_is_normal(word: Any, priority: Priority) -> None:
    assert item(priority=word).priority is priority


@pytest.mark.parametrize(
    ("kind", "assignee", "owner"),
    [
        ("agent", CODEX, Owner(OwnerKind.AGENT, "architect")),
        ("agent", CODEX.upper(), Owner(OwnerKind.AGENT, "architect")),
        ("agent", REVIEWER, Owner(OwnerKind.AGENT, REVIEWER)),
        ("squad", CORE_SQUAD, Owner(OwnerKind.AGENT, "architect")),
        ("squad", CORE_SQUAD.upper(), Owner(OwnerKind.AGENT, "architect")),
        ("member", BOB, Owner(OwnerKind.PERSON, BOB)),
        (None, None, NOBODY),
    ],
)
def test_S6a_the_owner_is_the_agent_the_squads_leader_or_the_person(kind: Any, assignee: Any, owner: Owner) -> None:
    translated = read(record(assignee_type=kind, assignee_id=assignee))
    assert translated.items[0].owner == owner
    assert translated.findings == ()


def test_S6a_a_squad_whose_leader_is_no_agent_of_the_roster_is_that_agents() -> None:
    squads = [{"id": CORE_SQUAD, "leader_id": REVIEWER}]
    translated = read(record(assignee_type="squad", assignee_id=CORE_SQUAD), squads=squads)
    assert translated.items[0].owner == Owner(OwnerKind.AGENT, REVIEWER)


def test_S6a_without_the_list_of_squads_their_issues_are_nobodys_and_it_is_said_why() -> None:
    of_squad = record(assignee_type="squad", assignee_id=CORE_SQUAD)
    translated = read(of_squad, squads=None, squads_problem="HTTP 500")
    assert translated.items[0].owner == NOBODY
    (finding,) = translated.findings
    assert finding.code == "unknown-squads"
    assert "HTTP 500" in finding.message
    assert finding.refs == (REF,)


@pytest.mark.parametrize("squads", [[], [{"id": CORE_SQUAD, "leader_id": None}], [None, "x", {"leader_id": CODEX}]])
def test_S6a_a_squad_without_a_leader_is_said(squads: list[Any]) -> None:
    translated = read(record(assignee_type="squad", assignee_id=CORE_SQUAD), squads=squads)
    assert translated.items[0].owner == NOBODY
    assert codes(translated) == {"squad-without-leader"}


@pytest.mark.parametrize(
    ("kind", "assignee"), [("robot", CODEX), ("agent", None), (None, CODEX), (None, {"id": CODEX}), ("agent", [CODEX])]
)
def test_S6a_an_assignee_of_an_unknown_kind_or_without_its_other_half_is_nobody_and_said(
    kind: Any, assignee: Any
) -> None:
    translated = read(record(assignee_type=kind, assignee_id=assignee))
    assert translated.items[0].owner == NOBODY
    assert codes(translated) == {"unknown-owner"}


def test_issues_of_one_owner_share_one_owner_object() -> None:
    first, second = read(record(), record(id="other")).items
    assert first.owner is second.owner


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-20T17:00:00+08:00", datetime(2026, 11, 20, 9, tzinfo=UTC)),
        ("2026-11-20T09:00:00", datetime(2026, 11, 20, 9, tzinfo=UTC)),
        ("2026-11-20T09:00:00.123456789Z", datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC)),
        ("yesterday", None),
        (None, None),
    ],
)
def test_S8_times_are_utc_whatever_their_zone(text: Any, instant: datetime | None) -> None:
    assert item(updated_at=text).updated_at == instant


def test_S8_a_time_ahead_of_the_clock_is_now_and_said() -> None:
    translated = read(record(updated_at="2026-11-21T04:05:01Z"), record(id="b", updated_at="2026-11-21T04:05:00Z"))
    assert [found.updated_at for found in translated.items] == [NOW, NOW + timedelta(minutes=5)]
    assert [(finding.code, finding.refs) for finding in translated.findings] == [("clock-skew", (REF,))]


def test_S8_a_due_date_is_a_day_and_a_bad_one_is_said() -> None:
    assert item(due_date="2026-12-01").due == date(2026, 12, 1)
    translated = read(record(due_date="soon"))
    assert translated.items[0].due is None
    assert codes(translated) == {"unreadable-due-date"}


@pytest.mark.parametrize(
    ("value", "mentions"),
    [
        ("DEADBEEF", ("deadbeef",)),
        ("deadbeef-0000-4000-8000-000000000001", ("deadbeef-0000-4000-8000-000000000001",)),
        ("deadbeef, cafebabe", ("deadbeef", "cafebabe")),
        (12345678, ("12345678",)),
        ("", ()),
        (True, ()),
    ],
)
def test_M1_metadata_names_the_card_of_the_same_task(value: Any, mentions: tuple[str, ...]) -> None:
    assert item(metadata={"workboard_card": value}).mentions == mentions


def test_M1_an_identifier_is_an_alias_in_upper_case() -> None:
    assert item(identifier="acm-45").aliases == ("ACM-45", ISSUE_ID)
    assert item(identifier="acm-45").key == "acm-45"


@pytest.mark.parametrize("key", ["depends_on", "blocked_by"])
@pytest.mark.parametrize(
    ("value", "targets"),
    [
        ("BIZ-1", ["BIZ-1"]),
        ("biz-1,BIZ-2 ,, acm-3", ["BIZ-1", "BIZ-2", "ACM-3"]),
        ("BIZ-1，BIZ-2、BIZ-3;BIZ-4 BIZ-5", ["BIZ-1", "BIZ-2", "BIZ-3", "BIZ-4", "BIZ-5"]),
        ("BIZ-1, biz-1", ["BIZ-1"]),
        (PARENT_ID, [PARENT_ID]),
        (12, ["12"]),
        (["biz-1", "BIZ-2, BIZ-3", 12], ["BIZ-1", "BIZ-2", "BIZ-3", "12"]),
        ([], []),
        ("", []),
        (False, []),
    ],
)
def test_D1_metadata_names_what_an_issue_waits_for(key: str, value: Any, targets: list[str]) -> None:
    expected = tuple(Dependency(DependencyKind.EXPLICIT, target) for target in targets)
    assert item(metadata={key: value}).depends_on == expected


def test_D1_both_keys_and_the_parent_count_and_each_name_once() -> None:
    both = item(metadata={"depends_on": "BIZ-1", "blocked_by": "BIZ-2,BIZ-1"}, parent_issue_id=PARENT_ID)
    assert [dependency.target for dependency in both.depends_on] == ["BIZ-1", "BIZ-2", PARENT_ID]
    assert [dependency.kind for dependency in both.depends_on][-1] is DependencyKind.PARENT


@pytest.mark.parametrize(("told", "stage"), [(0, None), (-1, None), (None, None), (2, 2), (2.0, 2), ("2", 2)])
def test_D1_a_stage_counts_from_one(told: Any, stage: int | None) -> None:
    translated = read(record(stage=told))
    assert translated.items[0].stage == stage
    assert translated.findings == ()


@pytest.mark.parametrize("stage", [1.5, float("inf"), True, "later", [2], {"stage": 2}])
def test_D1_an_issue_of_an_unreadable_stage_waits_and_no_later_stage_passes_it_by(stage: Any) -> None:
    translated = read(record(stage=stage))
    assert translated.items[0].stage == 1
    assert [dependency.target for dependency in translated.items[0].depends_on] == ["(unreadable stage)"]
    assert codes(translated) == {"unreadable-dependency"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("depends_on", {"BIZ-1": True}),
        ("depends_on", ["BIZ-1", None, {"id": "BIZ-2"}]),
        ("blocked_by", 1.5),
        ("blocked_by", True),
    ],
)
def test_D1_what_an_issue_waits_for_and_cannot_be_read_holds_it_back(field: str, value: Any) -> None:
    translated = read(record(metadata={field: value}))
    (explicit,) = {dependency.kind for dependency in translated.items[0].depends_on}
    assert explicit is DependencyKind.EXPLICIT
    assert translated.items[0].depends_on[-1].target == f"(unreadable {field})"
    assert codes(translated) == {"unreadable-dependency"}


@pytest.mark.parametrize("parent", [{"id": PARENT_ID}, [PARENT_ID], 1.5, True])
def test_D2_a_parent_that_cannot_be_read_holds_the_issue_back(parent: Any) -> None:
    translated = read(record(parent_issue_id=parent))
    expected = Dependency(DependencyKind.EXPLICIT, "(unreadable parent_issue_id)")
    assert translated.items[0].depends_on == (expected,)
    assert codes(translated) == {"unreadable-dependency"}


def test_T1_the_last_change_is_evidence_named_by_its_revision() -> None:
    translated = read(record())
    at = datetime(2026, 11, 20, 9, 0, 0, 500_000, tzinfo=UTC)
    assert translated.evidence == (Evidence(REF, at, EvidenceKind.EDITED, "rev:4"),)


def test_T1_an_old_server_names_the_last_change_by_its_time() -> None:
    translated = read(record(revision=ABSENT, last_activity_at=ABSENT, status_category=ABSENT))
    at = datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert translated.evidence == (Evidence(REF, at, EvidenceKind.EDITED, "rev:2026-11-20T09:00:00Z"),)
    assert translated.items[0].revision == "2026-11-20T09:00:00Z"


@pytest.mark.parametrize("status", ["done", "cancelled"])
def test_T1_a_closed_issue_gives_no_evidence(status: str) -> None:
    assert read(record(status=status, status_category=status), runs=(run(),)).evidence == ()


@pytest.mark.parametrize(
    ("times", "at"),
    [
        ({}, datetime(2026, 11, 21, 3, 2, tzinfo=UTC)),
        ({"started_at": None}, datetime(2026, 11, 21, 3, 1, tzinfo=UTC)),
        ({"started_at": None, "dispatched_at": None}, datetime(2026, 11, 21, 3, 0, tzinfo=UTC)),
        ({"started_at": None, "dispatched_at": None, "created_at": None}, NOW),
    ],
)
def test_T7_a_run_that_goes_on_is_evidence_from_its_start(times: dict[str, Any], at: datetime) -> None:
    evidence = read(record(), runs=(run(**times),)).evidence
    assert evidence[-1] == Evidence(REF, at, EvidenceKind.RUN, "run-1")


@pytest.mark.parametrize("status", ["queued", "dispatched", "waiting_local_directory", "deferred", "something new"])
def test_T7_a_run_that_has_not_ended_is_active_whatever_its_state_is_called(status: str) -> None:
    kinds = [evidence.kind for evidence in read(record(), runs=(run(status=status),)).evidence]
    assert EvidenceKind.RUN in kinds


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_T7_a_run_that_has_ended_is_not_active(status: str) -> None:
    kinds = [evidence.kind for evidence in read(record(), runs=(run(status=status),)).evidence]
    assert EvidenceKind.RUN not in kinds


def test_T4_work_began_with_the_earliest_run_that_goes_on() -> None:
    earlier = run(id="run-0", started_at="2026-11-21T02:00:00Z")
    queued = run(id="run-2", status="queued", started_at=None)
    (found,) = read(record(), runs=(run(), earlier, queued)).items
    assert found.started_at == datetime(2026, 11, 21, 2, tzinfo=UTC)
    assert item().started_at is None


def test_T7_when_runs_cannot_be_known_it_is_said() -> None:
    translated = read(record(), runs=None, runs_problem="HTTP 404")
    assert codes(translated) == {"unknown-runs"}
    assert "HTTP 404" in translated.findings[0].message
    assert codes(read(runs=None)) == set()


@pytest.mark.parametrize(
    ("kind", "identity", "creator"),
    [
        ("agent", CODEX, Owner(OwnerKind.AGENT, "architect")),
        ("agent", REVIEWER, Owner(OwnerKind.AGENT, REVIEWER)),
        ("member", BOB, Owner(OwnerKind.PERSON, BOB)),
        ("member", None, NOBODY),
        ("system", BOB, NOBODY),
        (ABSENT, ABSENT, NOBODY),
    ],
)
def test_L2_the_creator_is_the_agent_or_the_person_who_made_it(kind: Any, identity: Any, creator: Owner) -> None:
    assert item(creator_type=kind, creator_id=identity).creator == creator


@pytest.mark.parametrize("status", ["queued", "dispatched", "running", "something new"])
def test_T7_whoever_has_a_run_that_has_not_ended_is_at_work_on_its_issue(status: str) -> None:
    at = datetime(2026, 11, 21, 3, 2, tzinfo=UTC)
    presence = read(record(), runs=(run(status=status, agent_id=CODEX.upper(), issue_id=ISSUE_ID.upper()),)).presence
    assert presence == (Presence("architect", True, at, "run-1", REF),)


def test_T7_a_run_of_no_issue_that_came_is_its_agents_all_the_same() -> None:
    runs = (run(issue_id=""), run(id="run-2", issue_id=PARENT_ID, agent_id=REVIEWER, started_at=None))
    presence = read(record(), runs=runs).presence or ()
    assert [(each.agent, each.id, each.ref) for each in presence] == [
        ("architect", "run-1", None),
        (REVIEWER, "run-2", None),
    ]
    assert presence[1].at == datetime(2026, 11, 21, 3, 1, tzinfo=UTC)


def test_T7_runs_that_have_ended_or_say_nothing_are_nobodys_presence() -> None:
    runs = (run(status="completed"), run(status="failed"), run(agent_id=None, issue_id=None), None, 7)
    assert read(record(), runs=runs).presence == ()


def test_T7_without_the_list_of_runs_nobody_knows_who_is_at_work() -> None:
    assert read(record(), runs=None).presence is None
    assert read(runs=[]).presence == ()


def test_runs_of_no_issue_and_runs_that_make_no_sense_are_passed_over() -> None:
    odd = (run(issue_id=""), run(issue_id=None), None, 7, run(id=None), run(status=["x"], id="run-9"))
    ids = [evidence.id for evidence in read(record(), runs=odd).evidence if evidence.kind is EvidenceKind.RUN]
    assert ids == ["run without an id", "run-9"]


@pytest.mark.parametrize("raw", [None, 7, "text", [], {}, {"id": None}, {"id": ""}, {"id": True}, {"id": ["x"]}])
def test_S10_a_record_without_an_id_is_rejected_and_kept_raw(raw: Any) -> None:
    translated = read(raw, record())
    (rejected,) = translated.rejected
    assert rejected.id is None
    assert rejected.raw == (raw if isinstance(raw, str) else repr(raw))
    assert len(translated.items) == 1


@pytest.mark.parametrize("status", [ABSENT, None, "", 7, ["todo"]])
def test_S3_an_issue_without_a_status_is_unknown_and_keeps_its_place_among_its_siblings(status: Any) -> None:
    translated = read(record(status=status, stage=1, parent_issue_id=PARENT_ID))
    (found,) = translated.items
    assert found.status is Status.UNKNOWN
    assert (found.parent, found.stage, found.aliases) == (PARENT_ID, 1, ("ACM-45", ISSUE_ID))
    assert codes(translated) == {"unknown-status"}
    assert translated.rejected == ()


@pytest.mark.parametrize("title", [ABSENT, None, "", " \n", ["x"]])
def test_an_issue_without_a_title_is_shown_by_its_identifier_and_said(title: Any) -> None:
    translated = read(record(title=title))
    assert translated.items[0].title == "ACM-45"
    assert codes(translated) == {"untitled"}
    assert "ACM-45" in translated.findings[0].message


def test_an_issue_without_an_identifier_goes_by_the_beginning_of_its_id() -> None:
    nameless = item(identifier=None, title=None)
    assert nameless.key == nameless.title == "0198f0a0"
    assert nameless.aliases == (ISSUE_ID,)


def test_ids_and_titles_as_numbers_are_text() -> None:
    numeric = item(id=45, title=2026)
    assert numeric.ref == Ref("multica", "45")
    assert numeric.title == "2026"


def test_an_issue_that_came_twice_is_one_item_and_said() -> None:
    translated = read(record(), record(title="again"))
    assert [found.title for found in translated.items] == ["登录页报错"]
    assert codes(translated) == {"repeated-record"}


def test_empty_metadata_of_another_shape_is_said_and_names_nothing() -> None:
    translated = read(record(metadata=[]))
    assert translated.items[0].depends_on == ()
    assert codes(translated) == {"unreadable-metadata"}


@pytest.mark.parametrize("metadata", [["depends_on=BIZ-1"], '{"depends_on": "BIZ-1"}', 7])
def test_D1_metadata_that_is_no_object_holds_the_issue_back_and_is_said(metadata: Any) -> None:
    translated = read(record(metadata=metadata))
    expected = Dependency(DependencyKind.EXPLICIT, "(unreadable metadata)")
    assert translated.items[0].depends_on == (expected,)
    assert codes(translated) == {"unreadable-metadata", "unreadable-dependency"}


def test_one_finding_names_all_issues_of_its_kind_and_the_first_five_by_key() -> None:
    records = [record(id=f"id-{number}", identifier=f"ACM-{number}", title=None) for number in range(1, 9)]
    (finding,) = read(*records).findings
    assert len(finding.refs) == 8
    assert finding.message.startswith("ACM-1, ACM-2, ACM-3, ACM-4, ACM-5 and 3 more: ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = tuple(record())


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON, max_size=5), JSON, JSON)
def test_S10_whatever_comes_nothing_raises_and_every_record_is_accounted_for(
    drawn: list[Any], squads: Any, runs: Any
) -> None:
    named = enumerate(drawn)
    records = [{**raw, "id": f"id-{n}"} if isinstance(raw, dict) and "id" in raw else raw for n, raw in named]
    translated = translate(Fetched(records, extra={"squads": squads, "runs": runs}), NOW, agents=AGENTS)
    refs = [found.ref for found in translated.items]
    assert len(refs) + len(translated.rejected) == len(records)
    assert len(set(refs)) == len(refs)
    assert {evidence.ref for evidence in translated.evidence} <= set(refs)


@given(st.sampled_from(FIELDS), JSON)
def test_S10_one_odd_field_never_loses_the_other_issues(name: str, value: Any) -> None:
    translated = read(record(**{name: value}), record(id="other"))
    assert len(translated.items) + len(translated.rejected) == 2
    assert Ref("multica", "other") in {found.ref for found in translated.items}
