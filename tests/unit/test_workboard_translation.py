"""A card as an item and its evidence (rules S3, S6, S6a, S7, S8, M1a, T1, T8, D1; contract 1.1, 1.4)."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.action import Voice, signed
from heartbeat.roster.model import Operator
from heartbeat.systems.base import Fetched, Translated
from heartbeat.systems.openclaw.owners import Team
from heartbeat.systems.openclaw.workboard import translate
from heartbeat.task import (
    NOBODY,
    Dependency,
    DependencyKind,
    Evidence,
    EvidenceKind,
    Item,
    Owner,
    OwnerKind,
    Priority,
    Status,
)
from tests.support.rosters import make_agent, make_coo, make_roster

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
TEAM = Team.of(make_roster(make_coo(), make_agent("architect", "developer"), operator=Operator(name="Vincent")))
ID = "5b40becb-fa49-481f-95c3-56a6e47509da"
OTHER = "f07e24dc-7ed0-4188-991c-e54ee4f7a517"


def ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def ago(**duration: float) -> int:
    return ms(NOW - timedelta(**duration))


def ahead(**duration: float) -> int:
    return ms(NOW + timedelta(**duration))


def make_card(**fields: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "title": "Card B: implement",
        "status": "todo",
        "priority": "normal",
        "labels": [],
        "position": 2000,
        "createdAt": ago(hours=2),
        "updatedAt": ago(hours=1),
        **fields,
    }


def read(*cards: Any) -> Translated:
    return translate(Fetched(list(cards)), NOW, team=TEAM)


def item_of(**fields: Any) -> Item:
    translated = read(make_card(**fields))
    assert translated.rejected == ()
    return translated.items[0]


def codes(translated: Translated) -> list[str]:
    return [finding.code for finding in translated.findings]


def claim(**fields: Any) -> dict[str, Any]:
    times = {"claimedAt": ago(minutes=20), "lastHeartbeatAt": ago(minutes=3), "expiresAt": ahead(minutes=27)}
    return {"ownerId": "coo", "token": "[redacted]", **times, **fields}


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("triage", Status.BACKLOG),
        ("backlog", Status.BACKLOG),
        ("todo", Status.TODO),
        ("scheduled", Status.BACKLOG),
        ("ready", Status.TODO),
        ("running", Status.IN_PROGRESS),
        ("in_progress", Status.IN_PROGRESS),
        ("review", Status.IN_REVIEW),
        ("blocked", Status.BLOCKED),
        ("done", Status.DONE),
        ("parked", Status.UNKNOWN),
        ("", Status.UNKNOWN),
        (None, Status.UNKNOWN),
        (7, Status.UNKNOWN),
    ],
)
def test_S6_every_status_has_its_place_and_what_is_not_known_is_unknown(word: object, status: Status) -> None:
    item = item_of(status=word)
    assert item.status is status
    assert item.raw_status == ("" if word is None else str(word))


def test_S6_unknown_statuses_are_one_finding_a_word() -> None:
    translated = read(make_card(status="parked"), make_card(id=OTHER, status="parked"))
    assert codes(translated) == ["unknown-status"]
    assert len(translated.findings[0].refs) == 2


def scheduled(at: object) -> dict[str, Any]:
    return {"automation": {"scheduledAt": at}}


def test_S6_a_scheduled_card_is_todo_with_its_time_and_backlog_without_one() -> None:
    item = item_of(status="scheduled", metadata=scheduled(ahead(hours=1)))
    assert (item.status, item.not_before) == (Status.TODO, NOW + timedelta(hours=1))
    past = item_of(status="scheduled", metadata=scheduled(ago(hours=1)))
    assert (past.status, past.not_before) == (Status.TODO, NOW - timedelta(hours=1))
    assert item_of(status="scheduled").not_before is None


def test_S6_any_card_with_a_time_ahead_waits_for_it_and_none_for_a_time_that_has_passed() -> None:
    assert item_of(status="todo", metadata=scheduled(ahead(days=40))).not_before == NOW + timedelta(days=40)
    assert item_of(status="todo", metadata=scheduled(ago(seconds=1))).not_before is None


def test_S6_an_archived_card_keeps_its_status_and_says_so() -> None:
    item = item_of(status="todo", metadata={"archivedAt": ago(minutes=1)})
    assert (item.archived, item.status) == (True, Status.TODO)


@pytest.mark.parametrize(
    ("word", "priority"),
    [
        ("urgent", Priority.URGENT),
        ("high", Priority.HIGH),
        ("normal", Priority.NORMAL),
        ("medium", Priority.NORMAL),
        ("low", Priority.LOW),
        ("P0", Priority.NONE),
        (None, Priority.NONE),
        (3, Priority.NONE),
    ],
)
def test_S7_priorities(word: object, priority: Priority) -> None:
    assert item_of(priority=word).priority is priority


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("coo", Owner(OwnerKind.AGENT, "coo")),
        (" COO ", Owner(OwnerKind.AGENT, "coo")),
        ("agent:coo:main", Owner(OwnerKind.AGENT, "coo")),
        ("agent:Architect:subagent:workboard-default-5b40becb", Owner(OwnerKind.AGENT, "architect")),
        ("vincent", Owner(OwnerKind.PERSON, "vincent")),
        ("ann@example.test", Owner(OwnerKind.PERSON, "ann@example.test")),
        ("user:Ann", Owner(OwnerKind.PERSON, "user:Ann")),
        ("trade-fair-team", Owner(OwnerKind.AGENT, "trade-fair-team")),
        ("  ", NOBODY),
        (None, NOBODY),
    ],
)
def test_S6a_the_assigned_agent_is_the_owner_by_the_rosters_name_for_it(name: object, owner: Owner) -> None:
    assert item_of(agentId=name).owner == owner


def test_S6a_without_an_operator_nobody_is_taken_for_one() -> None:
    assert Team({}, "").owner("x") == Owner(OwnerKind.AGENT, "x")
    assert Team({}, "").owner("") == NOBODY


@pytest.mark.parametrize(
    ("status", "expires", "owner"),
    [
        ("todo", ahead(seconds=1), "coo"),
        ("todo", ms(NOW), "architect"),
        ("running", ms(NOW), "coo"),
        ("running", ago(seconds=299), "coo"),
        ("running", ago(minutes=5), "architect"),
        ("review", ago(seconds=1), "architect"),
        ("running", None, "coo"),
    ],
)
def test_S6a_a_live_claim_goes_before_the_assigned_agent(status: str, expires: int | None, owner: str) -> None:
    metadata = {"claim": claim(expiresAt=expires)}
    assert item_of(status=status, agentId="architect", metadata=metadata).owner == Owner(OwnerKind.AGENT, owner)


def test_T8_a_running_card_without_a_claim_is_told_and_one_with_a_claim_or_an_execution_is_not() -> None:
    assert codes(read(make_card(status="running"))) == ["running-without-claim"]
    assert codes(read(make_card(status="running", metadata={"claim": claim()}))) == []
    executing = {"id": "e1", "status": "running", "updatedAt": ago(minutes=1)}
    assert codes(read(make_card(status="running", execution=executing))) == []
    expired = {"claim": claim(expiresAt=ago(minutes=6))}
    assert codes(read(make_card(status="running", metadata=expired))) == ["claim-expired"]
    archived = {"archivedAt": ago(minutes=6)}
    assert codes(read(make_card(status="running", metadata=archived))) == []


def test_T8_a_card_that_openclaws_own_dispatch_blocked_is_told_and_its_move_is_a_sweep() -> None:
    told = {"id": "n1", "kind": "failed", "createdAt": ago(minutes=9), "sequence": 1}
    metadata = {"notifications": [{**told, "message": "Claim expired without a recent heartbeat."}]}
    move = {"id": "m1", "kind": "moved", "at": ago(minutes=9) + 5, "fromStatus": "running", "toStatus": "blocked"}
    translated = read(make_card(status="blocked", events=[move], metadata=metadata))
    assert codes(translated) == ["claim-expired-blocked"]
    assert translated.items[0].reclaimed
    assert [evidence.kind for evidence in translated.evidence] == [EvidenceKind.SWEEP]
    by_hand = read(make_card(status="blocked", events=[{**move, "at": ago(minutes=2)}], metadata=metadata))
    assert codes(by_hand) == []
    assert not by_hand.items[0].reclaimed
    assert [evidence.kind for evidence in by_hand.evidence] == [EvidenceKind.MOVED]


def test_S8_times_are_utc_and_milliseconds_seconds_and_text_are_told_apart() -> None:
    item = item_of(createdAt=1795226214, updatedAt="2026-11-21T02:00:00", startedAt="2026-11-21T09:30:00+08:00")
    assert item.created_at == datetime(2026, 11, 21, 1, 56, 54, tzinfo=UTC)
    assert item.updated_at == datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
    assert item.started_at == datetime(2026, 11, 21, 1, 30, tzinfo=UTC)


def test_S8_the_older_shape_is_read_too() -> None:
    older = {
        "id": 12345678901,
        "title": "old",
        "status": "in_progress",
        "priority": "high",
        "agent_id": "coo",
        "created_at": "2026-11-20T00:00:00Z",
        "updated_at": "2026-11-21T03:00:00Z",
        "depends_on": [OTHER],
        "dependsOn": [{"id": 77}, OTHER],
    }
    item = read(older).items[0]
    assert (item.ref.id, item.key) == ("12345678901", "12345678")
    assert item.status is Status.IN_PROGRESS
    assert item.owner == Owner(OwnerKind.AGENT, "coo")
    assert item.updated_at == datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    assert item.revision == "2026-11-21T03:00:00Z"
    assert [dependency.target for dependency in item.depends_on] == ["77", OTHER]


def test_S8_without_an_update_the_start_stands_for_it_and_without_any_time_nothing_is_invented() -> None:
    card = make_card(startedAt=ago(minutes=50))
    del card["updatedAt"]
    assert read(card).items[0].updated_at == NOW - timedelta(minutes=50)
    bare = read({"id": ID, "title": "x", "status": "todo"}).items[0]
    assert (bare.created_at, bare.updated_at, bare.started_at, bare.revision) == (None, None, None, None)


def test_S8_a_time_more_than_five_minutes_ahead_is_now_with_one_finding_a_card() -> None:
    events = [{"id": "e1", "kind": "edited", "at": ahead(hours=3)}]
    translated = read(make_card(createdAt=ahead(minutes=5), updatedAt=ahead(minutes=5, seconds=1), events=events))
    item = translated.items[0]
    assert item.created_at == NOW + timedelta(minutes=5)
    assert item.updated_at == NOW
    assert translated.evidence[0].at == NOW
    assert codes(translated) == ["clock-skew"]
    assert "2026-11-21T07:00:00" in translated.findings[0].message


def test_T4_the_start_is_the_last_claim_or_move_to_running_since_the_first_one_survives_a_reclaim() -> None:
    metadata = {"claim": claim(claimedAt=ago(minutes=20))}
    running = {"status": "running", "startedAt": ago(hours=2)}
    assert item_of(**running, metadata=metadata).started_at == NOW - timedelta(minutes=20)
    moved = [{"id": "m", "kind": "moved", "at": ago(minutes=9), "fromStatus": "todo", "toStatus": "running"}]
    assert item_of(**running, events=moved).started_at == NOW - timedelta(minutes=9)
    earlier = {"claim": claim(claimedAt=ago(hours=3))}
    assert item_of(**running, metadata=earlier).started_at == NOW - timedelta(hours=2)


@pytest.mark.parametrize(
    ("title", "mentions"),
    [
        ("BIZ-31 fix login", ("BIZ-31",)),
        ("biz-31: fix", ("BIZ-31",)),
        ("[BIZ-31] fix", ("BIZ-31",)),
        ("【BIZ-31】写文档", ("BIZ-31",)),
        ("BIZ-31写文档", ("BIZ-31",)),
        ("ＢＩＺ－31：全角", ("BIZ-31",)),
        ("  (Biz-7)", ("BIZ-7",)),
        ("BIZ-31", ("BIZ-31",)),
        ("fix BIZ-31", ()),
        ("BIZ-31a fix", ()),
        ("BIZ-31-2 fix", ()),
        ("BIZ_31 fix", ()),
        ("31 fix", ()),
        ("TOOLONGAKEYX-1 fix", ()),
    ],
)
def test_M1a_an_identifier_leading_the_title_is_a_mention(title: str, mentions: tuple[str, ...]) -> None:
    assert item_of(title=title).mentions == mentions


@pytest.mark.parametrize(
    ("fields", "mentions"),
    [
        ({"labels": ["heartbeat", "multica:biz-31", "BIZ-7"]}, ("BIZ-31", "BIZ-7")),
        ({"labels": [None, 3, "p1"]}, ()),
        ({"labels": "BIZ-1"}, ()),
        ({"sourceUrl": "https://multica.test/acme/issues/BIZ-31/?tab=1#c"}, ("BIZ-31",)),
        ({"sourceUrl": "https://multica.test/BIZ-31/comments"}, ()),
        ({"sourceUrl": f"https://multica.test/issues/{OTHER.upper()}"}, (OTHER,)),
        ({"sourceUrl": f"https://board.test/cards/{ID}"}, ()),
        ({"sourceUrl": "http://[broken"}, ()),
        ({"title": "BIZ-31 x", "labels": ["BIZ-31"], "sourceUrl": "https://m.test/BIZ-31"}, ("BIZ-31",)),
    ],
)
def test_M1a_labels_and_the_source_url_mention_too(fields: dict[str, Any], mentions: tuple[str, ...]) -> None:
    assert item_of(**fields).mentions == mentions


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://multica.test/issues/BIZ-31", "https://multica.test/issues/BIZ-31"),
        ("http://x.test", "http://x.test"),
        ("javascript:alert(1)", None),
        ("file:///etc/passwd", None),
        ("https://x.test/\x1b[31m", None),
        ("https://", None),
        (7, None),
    ],
)
def test_B8_only_a_web_address_becomes_a_link(url: object, shown: str | None) -> None:
    assert item_of(sourceUrl=url).url == shown


def test_names_of_a_card() -> None:
    item = item_of(updatedAt=1795226214447)
    assert (item.key, item.aliases, item.revision) == ("5b40becb", (ID,), "1795226214447")


def test_D1_parent_links_are_dependencies_and_all_other_links_are_decoration() -> None:
    kinds = ("child", "blocks", "blocked_by", "relates_to")
    links = [{"id": kind, "type": kind, "createdAt": 1, "targetCardId": OTHER} for kind in kinds]
    parents = [{"id": "p", "type": "parent", "createdAt": 1, "targetCardId": target} for target in (OTHER, "p2", OTHER)]
    assert item_of(metadata={"links": links}).depends_on == ()
    assert item_of(metadata={"links": links + parents}).depends_on == (
        Dependency(DependencyKind.CARD, OTHER),
        Dependency(DependencyKind.CARD, "p2"),
    )


def evidence_of(**fields: Any) -> list[tuple[str, EvidenceKind]]:
    return [(evidence.id, evidence.kind) for evidence in read(make_card(**fields)).evidence]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("created", EvidenceKind.MOVED),
        ("moved", EvidenceKind.MOVED),
        ("claimed", EvidenceKind.CLAIM_HEARTBEAT),
        ("heartbeat", EvidenceKind.CLAIM_HEARTBEAT),
        ("comment_added", EvidenceKind.COMMENT),
        ("proof_added", EvidenceKind.PROOF),
        ("artifact_added", EvidenceKind.ARTIFACT),
        ("edited", EvidenceKind.EDITED),
        ("linked", EvidenceKind.LINKED),
        ("link_added", EvidenceKind.LINKED),
        ("attempt_started", EvidenceKind.ATTEMPT),
        ("orchestration", EvidenceKind.SWEEP),
        ("dispatch", EvidenceKind.SWEEP),
        ("diagnostic", EvidenceKind.SWEEP),
        ("notification", EvidenceKind.SWEEP),
        ("stale", EvidenceKind.SWEEP),
        ("of a later version", EvidenceKind.ATTEMPT),
        (None, EvidenceKind.ATTEMPT),
    ],
)
def test_T1_every_kind_of_event_has_its_meaning_and_an_unknown_one_is_activity_only(
    word: str, kind: EvidenceKind
) -> None:
    assert evidence_of(events=[{"id": "e", "kind": word, "at": ago(minutes=1)}]) == [("e", kind)]


def test_T1_comments_claims_attempts_proof_and_execution_are_evidence() -> None:
    metadata = {
        "comments": [{"id": "c1", "body": "hi", "createdAt": ago(minutes=30)}],
        "proof": [{"id": "p1", "status": "passed", "createdAt": ago(minutes=25)}],
        "artifacts": [{"id": "a1", "createdAt": ago(minutes=24)}],
        "attempts": [{"id": "r1", "status": "failed", "startedAt": ago(minutes=23), "endedAt": ago(minutes=22)}],
        "claim": claim(),
    }
    execution = {"id": "x", "status": "running", "updatedAt": ago(minutes=1)}
    assert evidence_of(status="running", metadata=metadata, execution=execution) == [
        ("c1", EvidenceKind.COMMENT),
        ("p1", EvidenceKind.PROOF),
        ("a1", EvidenceKind.ARTIFACT),
        ("attempt:r1:startedAt", EvidenceKind.ATTEMPT),
        ("attempt:r1:endedAt", EvidenceKind.ATTEMPT),
        (f"claim:{ago(minutes=20)}", EvidenceKind.CLAIMED),
        (f"claim-heartbeat:{ago(minutes=3)}", EvidenceKind.CLAIM_HEARTBEAT),
        (f"execution:{ago(minutes=1)}", EvidenceKind.ATTEMPT),
    ]


def test_T1_the_comment_that_a_heartbeats_note_becomes_is_activity_and_no_progress() -> None:
    events = [
        {"id": "e1", "kind": "comment_added", "at": ago(minutes=9) + 3},
        {"id": "e2", "kind": "heartbeat", "at": ago(minutes=5) + 1},
    ]
    comments = [
        {"id": "said", "body": "found it", "createdAt": ago(minutes=9)},
        {"id": "note", "body": "round 3/50", "createdAt": ago(minutes=5)},
        {"id": "long before", "body": "x", "createdAt": ago(minutes=7)},
    ]
    kinds = dict(evidence_of(events=events, metadata={"comments": comments}))
    assert kinds["note"] is EvidenceKind.CLAIM_HEARTBEAT
    assert kinds["said"] is EvidenceKind.COMMENT
    assert kinds["long before"] is EvidenceKind.COMMENT


RULE = signed("heartbeat：任务超时，已自动恢复。", "0123456789ab")
AGENT = signed("卡在评审", "0123456789ab", Voice.AGENT)


def owned(events: list[dict[str, Any]], *comments: tuple[str, int]) -> set[str]:
    """Ids of the evidence that is told as our own, of a card with these events and comments (body and time)."""
    listed = [{"id": f"c{number}", "body": body, "createdAt": at} for number, (body, at) in enumerate(comments, 1)]
    translated = read(make_card(status="running", events=events, metadata={"comments": listed}))
    assert translated.rejected == ()
    return {evidence.id for evidence in translated.evidence if evidence.own}


def event(name: str, kind: str, at: int) -> dict[str, Any]:
    return {"id": name, "kind": kind, "at": at}


@pytest.mark.parametrize("kind", ["comment_added", "moved"])
def test_T2_what_a_rule_said_and_the_one_event_of_that_write_are_our_own(kind: str) -> None:
    at = ago(minutes=9)
    events = [event("before", "moved", at - 5), event("ours", kind, at + 3), event("after", "comment_added", at + 400)]
    assert owned(events, (RULE, at)) == {"c1", "ours"}


def test_T2_an_event_in_the_very_millisecond_of_our_comment_is_ours() -> None:
    assert owned([event("ours", "moved", ago(minutes=9))], (RULE, ago(minutes=9))) == {"c1", "ours"}


@pytest.mark.parametrize(
    "body",
    [
        AGENT,
        "收到",
        f"heartbeat 说：{RULE}。我在做了",
        "[hb:0123456789ab] 这是什么？",
        "[hb:0123456789AB]",
        "[hb:0123456789abc]",
    ],
)
def test_T2_what_others_say_is_theirs_also_where_they_quote_us(body: str) -> None:
    assert owned([event("e", "comment_added", ago(minutes=9) + 2)], (body, ago(minutes=9))) == set()


def test_T2_a_sign_of_life_right_after_our_comment_stays_one() -> None:
    at = ago(minutes=9)
    for kind in ("heartbeat", "claimed", "proof_added", "edited", "dispatch"):
        assert owned([event("theirs", kind, at + 2)], (RULE, at)) == {"c1"}, kind
    late = [event("theirs", "comment_added", at + 1001)]
    assert owned(late, (RULE, at)) == {"c1"}, "its own event is not kept any more, and this is another write"


def test_T2_our_comment_and_theirs_a_moment_later_are_told_apart() -> None:
    at = ago(minutes=9)
    events = [event("ours", "comment_added", at + 2), event("theirs", "comment_added", at + 7)]
    assert owned(events, (RULE, at), ("不对，我还在做", at + 5)) == {"c1", "ours"}


def test_finished_and_archived_cards_give_no_evidence() -> None:
    events = [{"id": "e", "kind": "edited", "at": ago(minutes=1)}]
    assert evidence_of(status="done", events=events) == []
    assert evidence_of(events=events, metadata={"archivedAt": ago(minutes=1)}) == []


def test_unreadable_history_is_counted_and_the_card_stays() -> None:
    events = [
        None,
        {"id": "e"},
        {"kind": "moved", "at": ago(minutes=1)},
        {"id": "ok", "kind": "edited", "at": ago(minutes=1)},
    ]
    translated = read(make_card(events=events, metadata={"attempts": ["x"], "comments": [{"id": 3}]}))
    assert [evidence.id for evidence in translated.evidence] == ["ok"]
    assert codes(translated) == ["unreadable-history"]
    assert translated.findings[0].message.startswith("5 ")


@pytest.mark.parametrize("name", ["dependsOn", "depends_on", "parents"])
def test_D1_the_lists_of_other_shapes_are_dependencies_too(name: str) -> None:
    (item,) = read(make_card(**{name: [OTHER, {"id": "deadbeef", "status": "done"}, 7]})).items
    assert [dependency.target for dependency in item.depends_on] == [OTHER, "deadbeef", "7"]


@pytest.mark.parametrize(
    ("record", "identifier"),
    [
        (None, None),
        ("text", None),
        ([], None),
        ({}, None),
        ({"id": None, "title": "x"}, None),
        ({"id": "  ", "title": "x"}, None),
        ({"id": True, "title": "x"}, None),
        ({"id": "a\x1b[31m", "title": "x"}, None),
        ({"id": "x" * 300, "title": "x"}, None),
        ({"id": ID, "title": 7}, ID),
        ({"id": ID, "title": ["x"]}, ID),
        ({"id": ID, "title": "x", "metadata": []}, ID),
        ({"id": ID, "title": "x", "metadata": {"claim": "coo"}}, ID),
        ({"id": ID, "title": "x", "metadata": {"links": {}}}, ID),
        ({"id": ID, "title": "x", "metadata": {"links": ["x"]}}, ID),
        ({"id": ID, "title": "x", "metadata": {"links": [{"type": "parent"}]}}, ID),
        ({"id": ID, "title": "x", "dependsOn": [None]}, ID),
        ({"id": ID, "title": "x", "agentId": 7}, ID),
        ({"id": ID, "title": "x", "metadata": {"archivedAt": False}}, ID),
        ({"id": ID, "title": "x", "metadata": {"archivedAt": 0}}, ID),
        ({"id": ID, "title": "x", "metadata": {"archivedAt": ""}}, ID),
        ({"id": ID, "title": "x", "metadata": {"automation": {"scheduledAt": "tomorrow"}}}, ID),
        ({"id": ID, "title": "x", "status": "todo", "events": 7}, ID),
    ],
)
def test_S3_a_malformed_record_is_rejected_with_its_text_and_the_others_stay(
    record: Any, identifier: str | None
) -> None:
    translated = read(make_card(id=OTHER), record)
    assert [item.ref.id for item in translated.items] == [OTHER]
    assert [rejected.id for rejected in translated.rejected] == [identifier]
    assert translated.rejected[0].reason
    assert translated.rejected[0].raw == (record if isinstance(record, str) else repr(record)[:2000])


def test_S10_a_card_without_a_title_is_shown_by_its_key() -> None:
    for title in (None, "", " \n"):
        translated = read(make_card(title=title))
        assert translated.items[0].title == "5b40becb"
        assert codes(translated) == ["untitled"]


def test_S3_of_two_records_with_one_id_the_newest_stays_in_any_order() -> None:
    older, newer = make_card(title="older"), make_card(title="newer", updatedAt=ago(minutes=1))
    for records in ((older, newer), (newer, older), (newer, older, newer)):
        translated = read(*records)
        assert [item.title for item in translated.items] == ["newer"]
        assert codes(translated) == ["repeated-record"]
        assert str(len(records)) in translated.findings[0].message


def test_M3_two_different_records_of_one_moment_give_the_same_card_in_any_order() -> None:
    first, second = make_card(title="a"), make_card(title="b")
    assert read(first, second).items == read(second, first).items


FIELDS = st.sampled_from(
    [
        "id",
        "title",
        "status",
        "priority",
        "labels",
        "createdAt",
        "updatedAt",
        "startedAt",
        "agentId",
        "sourceUrl",
        "events",
        "metadata",
        "execution",
        "dependsOn",
    ]
)
METADATA = st.sampled_from(
    ["claim", "links", "comments", "attempts", "proof", "automation", "notifications", "archivedAt"]
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "at", "kind", "type", "targetCardId", "createdAt", "ownerId", "x"]), inner
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(FIELDS, JUNK, max_size=3), st.dictionaries(METADATA, JUNK, max_size=3), JUNK)
def test_S10_whatever_comes_is_an_item_or_a_rejection_and_never_an_error(
    fields: dict[str, Any], metadata: dict[str, Any], junk: Any
) -> None:
    records = [make_card(**{"metadata": metadata, **fields}), junk]
    translated = read(*records)
    assert len(translated.items) + len(translated.rejected) == len(records)


@given(st.randoms(use_true_random=False))
def test_M3_the_order_of_the_records_changes_no_item(shuffle: random.Random) -> None:
    cards = [make_card(id=f"{number:08x}-0000", title=f"card {number % 3}", status="running") for number in range(6)]
    cards.append(make_card(id="00000001-0000", title="again"))
    shuffled = list(cards)
    shuffle.shuffle(shuffled)
    as_set = {item.ref: item for item in read(*cards).items}
    assert {item.ref: item for item in read(*shuffled).items} == as_set


def test_evidence_is_sorted_and_free_of_repetition() -> None:
    events = [{"id": f"e{minute}", "kind": "edited", "at": ago(minutes=minute)} for minute in (3, 9, 1, 3)]
    evidence: tuple[Evidence, ...] = read(make_card(events=events)).evidence
    assert [entry.id for entry in evidence] == ["e9", "e3", "e1"]


def test_hostile_text_stays_text() -> None:
    title = "$(touch x) `id` -- {{ 7*7 }} \u202e \x1b[31m <!-- - [x]"
    assert item_of(title=title).title == title
    assert json.dumps(item_of(title=title).title)


def test_a_key_is_as_long_as_it_must_be_to_tell_cards_apart() -> None:
    ids = ("aaaa1111-0001-4000-8000-000000000000", "aaaa1111-0002-4000-8000-000000000000", "bbbb2222-0001-4000-8000-0")
    fetched = Fetched([{"id": identifier, "title": "x", "status": "todo"} for identifier in ids])
    keys = [item.key for item in translate(fetched, NOW, team=Team.of(make_roster())).items]
    assert keys == ["aaaa1111-0001", "aaaa1111-0002", "bbbb2222"]
