"""Who spoke with an agent, a person or a program, on a real Gateway (rule B4)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from heartbeat.memory import Stage
from heartbeat.systems.base import Deadline, Hearing
from heartbeat.task import Presence
from tests.real.gateway import RealGateway
from tests.real.install import install_openclaw
from tests.real.model import CurtModel
from tests.real.rpc import RpcError
from tests.real.session import changeable
from tests.real.team import beat_of, open_team
from tests.real.turns import say, sessions_of, take_turn, turn, until
from tests.real.wiretap import Wiretap
from tests.real.writer_cases import RealBoardWriterCase
from tests.support.openclaw_sessions import FakeSessions
from tests.support.real_openclaw_cases import open_source

pytestmark = pytest.mark.openclaw

SECONDS = """\
recovery: act
quiet_after_talk: 20s
sources: {workboard: {transport: gateway}}
classes: {high_frequency: {every: 1s, suspect_after: 1s, recover_after: 2s}}
agents:
  coo: {class: high_frequency, notify: [self], patrol: true}
  architect: {class: high_frequency, notify: [self]}
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[RealGateway]:
    """Its agents answer everybody at once."""
    with closing(CurtModel()) as model, RealGateway(install_openclaw(), model=model.url) as gateway:
        yield gateway


def presence(gateway: RealGateway, transport: str = "gateway") -> dict[str, Presence]:
    """By session key."""
    reading = open_source(transport, gateway.environment).read(Deadline.after(120.0), datetime.now(UTC))
    assert reading.presence is not None, reading.report
    assert reading.report.findings == ()
    return {each.id: each for each in reading.presence}


def just_now(instant: datetime | None, since: float) -> bool:
    return instant is not None and since - 1.0 <= instant.timestamp() <= time.time() + 1.0


def row(gateway: RealGateway, key: str) -> dict[str, Any]:
    (found,) = (each for each in gateway.call("sessions.list", {"limit": 500})["sessions"] if each["key"] == key)
    return dict(found)


def test_B4_a_persons_word_is_told_from_a_programs_turn_in_one_and_the_same_session(gateway: RealGateway) -> None:
    since = time.time()
    main, other, ours = "agent:coo:main", "agent:architect:main", "agent:secretary:hb-5b40becb"
    take_turn(gateway, "coo", main)
    take_turn(gateway, "architect", other)
    say(gateway, ours)
    with Wiretap(gateway.url) as wiretap:
        environment = {**gateway.environment, "OPENCLAW_GATEWAY_PORT": str(wiretap.port)}
        reading = open_source("gateway", environment).read(Deadline.after(60.0), datetime.now(UTC))
        assert "chat.history" not in wiretap.methods, "no person ever spoke there: there is nothing to ask"
    assert reading.presence is not None
    assert {each.id: each.talked_at for each in reading.presence} == dict.fromkeys((main, other, ours))

    say(gateway, main)
    said = presence(gateway)
    assert just_now(said[main].talked_at, since)
    for transport in ("gateway", "cli"):
        source = open_source(transport, gateway.environment)
        assert isinstance(source, Hearing)
        (heard,) = source.hear(["coo"], Deadline.after(60.0), datetime.now(UTC))
        assert (heard.id, heard.talked_at) == (main, said[main].talked_at), "asked anew, without the cards"
    assert len(gateway.call("chat.history", {"sessionKey": main, "limit": 1000, "maxChars": 100})["messages"]) > 0
    assert {key: each.talked_at for key, each in said.items() if key != main} == {other: None, ours: None}

    take_turn(gateway, "coo", main)
    later = presence(gateway)
    assert later[main].talked_at == said[main].talked_at, "a program spoke since, and the person's word stands"
    assert later[main].at is not None
    assert said[main].at is not None
    assert later[main].at > said[main].at


def test_B4_over_the_command_line_the_same_is_told(gateway: RealGateway) -> None:
    say(gateway, "agent:coo:main")
    by_command = presence(gateway, "cli")["agent:coo:main"].talked_at
    assert by_command == presence(gateway)["agent:coo:main"].talked_at is not None


def test_B4_while_a_person_talks_to_its_owner_a_card_is_not_nudged_and_after_that_it_is(
    gateway: RealGateway, tmp_path: Path
) -> None:
    with (
        Wiretap(gateway.url) as wiretap,
        open_team(RealBoardWriterCase(gateway, wiretap, "gateway"), tmp_path, SECONDS) as team,
    ):
        team.work("对账", "architect")
        say(gateway, "agent:architect:main", "还要多久？")
        talking = team.beat_in_real_time_until(lambda: bool(team.incidents))
        assert (team.newest.stage, team.newest.steps) == (Stage.SUSPECTED, ())
        receipt = beat_of(talking, "architect").receipt
        assert receipt is not None
        assert receipt.reasons[0].startswith("deferred: a person is talking to architect until ")
        assert team.inbox("architect") == []
        team.beat_in_real_time_until(lambda: team.newest.nudged_at is not None, 60.0)
        assert [each.payload["title"] for each in team.inbox("architect")] == ["疑似超时：对账"]
        assert [each.action for each in team.store.log()].count("deferred") == 1, team.story()
        team.case.clear()


FIELDS = ("createdVia", "chatType", "isBackground", "isMain", "hasActiveRun")


def test_a_fake_session_of_people_and_programs_says_what_a_real_one_says(gateway: RealGateway) -> None:
    key = "agent:secretary:main"
    sessions = FakeSessions(lambda: int(time.time() * 1000))
    for speaks in ("program", "person", "program"):
        if speaks == "person":
            say(gateway, key)
            sessions.talk(key, sessions.clock())
        else:
            take_turn(gateway, "secretary", key)
            sessions.turn(key, sessions.clock())
        until(lambda: not row(gateway, key)["hasActiveRun"])
        (listed,) = sessions.list({})["sessions"]
        real = row(gateway, key)
        assert {name: listed.get(name) for name in FIELDS} == {name: real.get(name) for name in FIELDS}
        assert ("lastActivityAt" in listed) is ("lastActivityAt" in real)
    parameters = {"sessionKey": key, "limit": 50, "maxChars": 3}
    told, page = gateway.call("chat.history", parameters), sessions.history(parameters)
    assert page.keys() <= told.keys()
    assert [each["role"] for each in told["messages"]] == [each["role"] for each in page["messages"]]
    for each, mine in zip(told["messages"], page["messages"], strict=True):
        assert mine.keys() <= each.keys()
        assert mine["__openclaw"].keys() <= each["__openclaw"].keys()
        assert ("transport" in mine["__openclaw"]) is ("transport" in each["__openclaw"])
        assert isinstance(each["content"], type(mine["content"]))
    assert told["messages"][2]["content"] == page["messages"][2]["content"], "cut in the same way"


@pytest.mark.parametrize(
    "params", [{"sessionKey": "agent:coo:main", "limit": 0}, {"limit": 3}, {"sessionKey": "agent:coo:main", "nope": 1}]
)
def test_both_refuse_a_history_in_the_same_words(params: dict[str, Any]) -> None:
    with pytest.raises(RpcError) as real:
        changeable().call("chat.history", params)
    with pytest.raises(ValueError) as imitated:
        FakeSessions(lambda: 0).history(params)
    assert str(real.value).endswith(str(imitated.value))


def test_B4_a_person_who_speaks_to_a_running_turn_is_heard_and_a_program_that_was_cut_off_is_not() -> None:
    silent, key = changeable(), "agent:coo:webchat"
    with sessions_of(silent, key), silent.connect() as connection:
        with turn(silent, "coo", key):
            until(lambda: row(silent, key)["hasActiveRun"])
            connection.call("chat.send", {"sessionKey": key, "message": "停一下", "idempotencyKey": "word-1"})
            until(lambda: presence(silent)[key].talked_at is not None)
            connection.call("chat.abort", {"sessionKey": key})
        said_at = presence(silent)[key].talked_at
        with turn(silent, "coo", key):
            pass
        assert presence(silent)[key].talked_at == said_at
