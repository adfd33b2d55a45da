"""Sessions as OpenClaw lists them, and who is at work by them (rules T1, T7; contract 7)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from heartbeat.roster.model import Operator
from heartbeat.systems.base import FailureKind, Fetched, TransportError
from heartbeat.systems.openclaw.owners import Team
from heartbeat.systems.openclaw.sessions import Session, is_active, presences, read_sessions, with_sessions
from heartbeat.systems.openclaw.talks import last_word
from heartbeat.task import Presence
from tests.support.openclaw_sessions import FakeSessions
from tests.support.rosters import make_agent, make_coo, make_roster

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
MINUTE = 60_000
TEAM = Team.of(make_roster(make_coo(), make_agent("architect"), operator=Operator(name="Vincent")))


@pytest.fixture
def sessions() -> FakeSessions:
    return FakeSessions(lambda: NOW_MS)


def listing(*entries: Any, **page: Any) -> Mapping[str, Any]:
    return {"sessions": list(entries), "hasMore": False, **page}


def test_a_run_and_a_talk_are_told_and_all_agents_come_in_two_questions(sessions: FakeSessions) -> None:
    sessions.put("agent:coo:main", active=True, spoken_at=NOW_MS - 40 * MINUTE)
    sessions.put("agent:architect:main", spoken_at=NOW_MS - 5 * MINUTE)
    asked: list[Mapping[str, Any]] = []

    def ask(parameters: Mapping[str, Any]) -> Any:
        asked.append(parameters)
        return sessions.list(dict(parameters))

    assert read_sessions(ask) == (
        Session("agent:architect:main", "architect", False, NOW - timedelta(minutes=5), for_programs=True),
        Session("agent:coo:main", "coo", True, NOW - timedelta(minutes=40), for_programs=True),
    )
    assert len(asked) == 2
    assert not any("agentId" in parameters for parameters in asked)


def test_T7_a_run_that_has_said_nothing_for_days_is_still_one(sessions: FakeSessions) -> None:
    sessions.put("agent:coo:main", active=True, spoken_at=NOW_MS - 5000 * MINUTE, updatedAt=NOW_MS - 5000 * MINUTE)
    sessions.put("agent:architect:main", spoken_at=NOW_MS - 5000 * MINUTE)
    (found,) = read_sessions(lambda parameters: sessions.list(dict(parameters)))
    assert (found.agent, found.active) == ("coo", True)


def test_T7_a_run_that_ends_between_the_two_questions_counts_once_more(sessions: FakeSessions) -> None:
    def ask(parameters: Mapping[str, Any]) -> Any:
        page = sessions.list(dict(parameters))
        sessions.put("agent:coo:main", active=False, spoken_at=NOW_MS)
        return page

    sessions.put("agent:coo:main", active=True, spoken_at=NOW_MS)
    (found,) = read_sessions(ask)
    assert found.active


@pytest.mark.parametrize(
    "key",
    [
        "agent:coo:cron:job-1:run:2",
        "agent:coo:cron:job-1",
        "agent:coo:main:heartbeat",
        "agent:coo:heartbeat:monitor",
        "agent:coo:subagent:workboard-default-1",
    ],
)
def test_T1_jobs_monitors_and_subagents_count_where_they_run_and_their_times_do_not(
    sessions: FakeSessions, key: str
) -> None:
    sessions.put(key, active=True, spoken_at=NOW_MS - MINUTE)
    (found,) = read_sessions(lambda parameters: sessions.list(dict(parameters)))
    assert (found.active, found.at) == (True, None)


def test_T1_a_session_that_openclaw_itself_calls_background_gives_no_time(sessions: FakeSessions) -> None:
    sessions.put("agent:coo:nightly", active=True, spoken_at=NOW_MS - MINUTE, isBackground=True)
    (found,) = read_sessions(lambda parameters: sessions.list(dict(parameters)))
    assert found.at is None


@pytest.mark.parametrize("key", ["agent:coo:cronos", "agent:coo:main", "agent:coo:hb-5b40becb", "agent:coo:heartbeats"])
def test_T1_a_session_in_which_the_agent_works_gives_its_time(sessions: FakeSessions, key: str) -> None:
    sessions.put(key, spoken_at=NOW_MS - MINUTE)
    (found,) = read_sessions(lambda parameters: sessions.list(dict(parameters)))
    assert found.at == NOW - timedelta(minutes=1)


def test_every_page_is_read(sessions: FakeSessions) -> None:
    for number in range(1201):
        sessions.put(f"agent:coo:{number}", spoken_at=NOW_MS - number)
    assert len(read_sessions(lambda parameters: sessions.list(dict(parameters)))) == 1201


def test_one_agents_runs_are_asked_for_by_name(sessions: FakeSessions) -> None:
    sessions.put("agent:coo:main", active=True)
    sessions.put("agent:architect:main", spoken_at=NOW_MS)
    assert is_active(lambda parameters: sessions.list(dict(parameters)), "coo")
    assert not is_active(lambda parameters: sessions.list(dict(parameters)), "architect")


@pytest.mark.parametrize(
    "page",
    [
        None,
        [],
        {},
        {"sessions": None},
        {"sessions": {"agent:coo:main": {}}},
        listing("agent:coo:main"),
        listing({"hasActiveRun": True}),
        listing({"key": "", "hasActiveRun": True}),
        listing({"key": 7}),
        listing({"key": "agent:coo:main", "agentId": ["coo"]}),
        listing(hasMore=True),
        listing(hasMore=True, nextOffset=0),
        listing(hasMore=True, nextOffset="500"),
    ],
)
def test_T7_what_cannot_be_read_is_not_taken_for_rest(page: Any) -> None:
    for read in (lambda: read_sessions(lambda _: page), lambda: is_active(lambda _: page, "coo")):
        with pytest.raises(TransportError) as refused:
            read()
        assert refused.value.kind is FailureKind.BAD_OUTPUT


def test_a_list_without_an_end_is_given_up() -> None:
    with pytest.raises(TransportError) as refused:
        read_sessions(lambda asked: listing(hasMore=True, nextOffset=asked.get("offset", 0) + 500))
    assert refused.value.kind is FailureKind.TOO_LARGE


@pytest.mark.parametrize(
    ("entry", "active"),
    [
        ({"hasActiveRun": True, "status": "done"}, True),
        ({"hasActiveRun": False, "status": "running"}, False),
        ({"status": "running"}, True),
        ({"status": "done"}, False),
        ({"hasActiveRun": "yes"}, False),
    ],
)
def test_whether_a_session_of_the_last_day_runs_is_its_own_word(entry: dict[str, Any], active: bool) -> None:
    def ask(parameters: Mapping[str, Any]) -> Any:
        return listing() if "activeOnly" in parameters else listing({"key": "agent:coo:main", **entry})

    (found,) = read_sessions(ask)
    assert found.active is active


def test_agents_are_called_by_their_roster_ids_and_people_are_none() -> None:
    told = presences(
        [
            Session("agent:COO:main", "COO", True, NOW),
            Session("agent:trade-fair:main", "trade-fair", False, None),
            Session("agent:vincent:main", "Vincent", True, NOW),
            Session("global", "", True, NOW),
        ],
        TEAM,
        NOW,
    )
    assert told == (
        Presence("coo", True, NOW, "agent:COO:main"),
        Presence("trade-fair", False, None, "agent:trade-fair:main"),
    )


def test_S8_a_time_ahead_of_ours_is_now() -> None:
    (told,) = presences([Session("agent:coo:main", "coo", False, NOW + timedelta(hours=3))], TEAM, NOW)
    assert told.at == NOW


def test_sessions_that_cannot_be_read_leave_the_cards_as_they_are() -> None:
    def ask(parameters: Mapping[str, Any]) -> Any:
        raise TransportError(FailureKind.TIMEOUT, "no answer")

    cards = Fetched([{"id": "one"}], "short", extra={"other": 1})
    fetched = with_sessions(cards, ask)
    assert (fetched.records, fetched.problem, fetched.extra) == (cards.records, "short", {"other": 1})
    assert [(finding.code, "no answer" in finding.message) for finding in fetched.findings] == [
        ("unknown-sessions", True)
    ]


def heard(sessions: FakeSessions, quiet: timedelta = timedelta(minutes=10)) -> tuple[dict[str, datetime], list[str]]:
    """When a person last spoke, by session; and for which sessions the history was asked for."""
    asked: list[str] = []

    def hear(parameters: Mapping[str, Any]) -> Any:
        asked.append(parameters["sessionKey"])
        return sessions.history(dict(parameters))

    fetched = with_sessions(Fetched([]), lambda parameters: sessions.list(dict(parameters)), hear, quiet)
    assert fetched.findings == ()
    told = {each.key: each.talked_at for each in fetched.extra["sessions"] if each.talked_at is not None}
    return told, asked


def test_B4_a_persons_word_is_told_and_a_programs_turn_is_none(sessions: FakeSessions) -> None:
    sessions.talk("agent:coo:main", NOW_MS - 3 * MINUTE)
    sessions.turn("agent:architect:main", NOW_MS - MINUTE)
    told, asked = heard(sessions)
    assert told == {"agent:coo:main": NOW - timedelta(minutes=3)}
    assert asked == ["agent:coo:main"], "where nobody but programs ever spoke, there is nothing to ask"


def test_B4_in_a_session_of_both_the_history_tells_who_spoke(sessions: FakeSessions) -> None:
    sessions.talk("agent:coo:main", NOW_MS - 8 * MINUTE)
    sessions.turn("agent:coo:main", NOW_MS - 2 * MINUTE)
    sessions.talk("agent:architect:main", NOW_MS - 50 * MINUTE)
    for minutes in range(40, 0, -10):
        sessions.turn("agent:architect:main", NOW_MS - minutes * MINUTE)
    sessions.turn("agent:writer:main", NOW_MS - 9 * MINUTE)
    sessions.talk("agent:writer:main", NOW_MS - MINUTE)
    told, asked = heard(sessions)
    assert told == {"agent:coo:main": NOW - timedelta(minutes=8), "agent:writer:main": NOW - timedelta(minutes=1)}
    assert asked == ["agent:architect:main", "agent:coo:main", "agent:writer:main"]


def test_B4_a_talk_of_long_ago_costs_no_question(sessions: FakeSessions) -> None:
    sessions.talk("agent:coo:main", NOW_MS - 10 * MINUTE)
    sessions.talk("agent:architect:main", NOW_MS - 10 * MINUTE - 1)
    told, asked = heard(sessions)
    assert asked == ["agent:coo:main"], "at the threshold it is asked"
    assert told == {"agent:coo:main": NOW - timedelta(minutes=10)}
    assert heard(sessions, timedelta(hours=1))[1] == ["agent:architect:main", "agent:coo:main"]


@pytest.mark.parametrize(
    "key",
    [
        "agent:coo:hb-5b40becb",
        "agent:coo:explicit:hb-5b40becb",
        "agent:coo:cron:job-1:run:2",
        "agent:coo:subagent:workboard-default-1",
        "agent:coo:heartbeat:monitor",
        "global",
    ],
)
def test_B4_what_is_said_in_our_own_sessions_in_jobs_and_in_monitors_is_no_talk(
    sessions: FakeSessions, key: str
) -> None:
    sessions.talk(key, NOW_MS - MINUTE)
    assert heard(sessions) == ({}, [])


CHANNEL = {"type": "observation", "pluginId": "feishu", "accountId": None, "senderKind": "human", "id": "ou_1"}


@pytest.mark.parametrize(
    ("said", "person"),
    [
        ({"__openclaw": {"senderIsOwner": True, "senderId": "ou_1", "senderIdentity": CHANNEL}}, True),
        ({"__openclaw": {"senderIdentity": {**CHANNEL, "senderKind": "unknown"}, "senderId": "ou_1"}}, True),
        ({"__openclaw": {"senderIdentity": {**CHANNEL, "senderKind": "bot"}, "senderId": "ou_1"}}, False),
        ({"__openclaw": {"senderIsOwner": True}}, False),
        ({"__openclaw": {"senderIsOwner": False}}, False),
        ({"__openclaw": {}}, True),
        ({"__openclaw": None}, True),
        ({}, True),
        ({"provenance": {"kind": "inter_session"}, "__openclaw": {"transport": {"clients": []}}}, False),
        ({"provenance": {"kind": "internal_system"}}, False),
        ({"provenance": {"kind": "external_user"}, "__openclaw": {"transport": {"clients": []}}}, True),
        ({"role": "assistant"}, False),
    ],
)
def test_B4_a_message_that_does_not_say_that_a_program_sent_it_is_a_persons(said: dict[str, Any], person: bool) -> None:
    message = {"role": "user", "timestamp": NOW_MS - 2 * MINUTE, "content": "好", **said}
    page = {"messages": [message], "hasMore": False}
    word = last_word(page, since=NOW - timedelta(minutes=10), otherwise=NOW)
    assert word == (NOW - timedelta(minutes=2) if person else None)


def test_B4_what_the_history_does_not_reach_back_to_counts_as_a_person(sessions: FakeSessions) -> None:
    sessions.talk("agent:coo:main", NOW_MS - 30 * MINUTE)
    for number in range(600):
        sessions.turn("agent:coo:main", NOW_MS - 5 * MINUTE + number)
    told, asked = heard(sessions)
    assert told == {"agent:coo:main": NOW - timedelta(minutes=5) + timedelta(milliseconds=599)}
    assert asked == ["agent:coo:main"] * 3, "as far back as a Gateway gives, and no further"


@pytest.mark.parametrize(("turns", "asked"), [(24, 1), (60, 2), (400, 3)])
def test_B4_however_much_programs_have_said_since_a_person_is_found_and_nobody_is_taken_for_one(
    sessions: FakeSessions, turns: int, asked: int
) -> None:
    for key, spoken in (("agent:coo:main", 9), ("agent:architect:main", 30)):
        sessions.talk(key, NOW_MS - spoken * MINUTE)
        for number in range(turns):
            sessions.turn(key, NOW_MS - 5 * MINUTE + number)
    told, questions = heard(sessions)
    assert told == {"agent:coo:main": NOW - timedelta(minutes=9)}
    assert len(questions) == 2 * asked


def test_B4_a_word_to_a_running_turn_is_a_word_and_a_programs_that_was_cut_off_is_none(sessions: FakeSessions) -> None:
    sessions.talk("agent:coo:main", NOW_MS - 30 * MINUTE)
    sessions.turn("agent:coo:main", NOW_MS - MINUTE)
    sessions.wait("agent:coo:main", NOW_MS - 2 * MINUTE, senderIsOwner=False)
    assert heard(sessions)[0] == {}
    sessions.wait("agent:coo:main", NOW_MS - 3 * MINUTE, transport={"clients": []})
    assert heard(sessions)[0] == {"agent:coo:main": NOW - timedelta(minutes=3)}


def test_B4_what_a_person_said_long_ago_and_no_turn_ever_took_up_is_over(sessions: FakeSessions) -> None:
    sessions.wait("agent:coo:main", NOW_MS - 30 * MINUTE, transport={"clients": []})
    sessions.talk("agent:coo:main", NOW_MS - 25 * MINUTE)
    sessions.turn("agent:coo:main", NOW_MS - MINUTE)
    assert heard(sessions)[0] == {}


def test_B4_a_session_that_a_person_has_just_begun_anew_is_a_talk(sessions: FakeSessions) -> None:
    sessions.talk("agent:coo:main", NOW_MS - MINUTE, "/new")
    sessions.messages.clear()
    assert heard(sessions)[0] == {"agent:coo:main": NOW - timedelta(minutes=1)}


@pytest.mark.parametrize(
    "page",
    [
        None,
        [],
        {},
        {"messages": None},
        {"messages": ["hello"]},
        {"messages": [], "pendingInputs": {"items": ["hello"]}},
        {"messages": [], "pendingInputs": {"items": [{"state": "queued"}]}},
    ],
)
def test_B4_a_history_that_cannot_be_read_counts_as_a_person_and_is_told(sessions: FakeSessions, page: Any) -> None:
    sessions.talk("agent:coo:main", NOW_MS - 4 * MINUTE)
    fetched = with_sessions(Fetched([]), lambda parameters: sessions.list(dict(parameters)), lambda asked: page)
    (session,) = fetched.extra["sessions"]
    assert session.talked_at == NOW - timedelta(minutes=4)
    assert [finding.code for finding in fetched.findings] == ["unknown-talk"]


def test_B4_a_refused_history_is_told_once_however_many_agents_it_concerns(sessions: FakeSessions) -> None:
    for agent in ("coo", "architect"):
        sessions.talk(f"agent:{agent}:main", NOW_MS - 4 * MINUTE)

    def refuse(parameters: Mapping[str, Any]) -> Any:
        raise TransportError(FailureKind.REFUSED, "unknown method: chat.history")

    fetched = with_sessions(Fetched([]), lambda parameters: sessions.list(dict(parameters)), refuse)
    assert [each.talked_at for each in fetched.extra["sessions"]] == [NOW - timedelta(minutes=4)] * 2
    (told,) = fetched.findings
    assert "unknown method" in told.message


def test_B4_a_talk_is_told_by_the_agents_roster_id() -> None:
    session = Session("agent:COO:main", "COO", False, NOW, talked_at=NOW + timedelta(hours=2))
    assert presences([session], TEAM, NOW) == (Presence("coo", False, NOW, "agent:COO:main", talked_at=NOW),)
