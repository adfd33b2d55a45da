"""`heartbeat dlq list`, `show`, `retry` and `drop` (rule F4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time

from heartbeat.attempt import DeadLetter, LetterState
from heartbeat.breaker import Breaker, State
from heartbeat.rules.failover import LETTER_TRIES
from heartbeat.store.locks import exclusive
from heartbeat.task import Ref
from tests.support.command import Result, heartbeat, tree
from tests.support.fake_board import FakeBoard, SteppingClock
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_models import Behaviour
from tests.support.operations import (
    AT,
    FAILED,
    HOSTILE,
    LOGIN,
    MINUTE,
    NOW,
    TURN,
    cannot_write,
    issues,
    looking,
    lose_memory,
    put_turns,
    remembering,
)

WAITING = DeadLetter(
    id="dl-0a0000000001",
    task=str(LOGIN),
    refs=(LOGIN,),
    title="登录页报错 500",
    agent="coo",
    created_at=NOW - 18 * MINUTE,
    due_at=NOW + 12 * MINUTE,
    error=f"500 {HOSTILE}",
    attempts=(FAILED.id,),
    tries=2,
    payload={"session": TURN.session, "engine": "openclaw", "reasons": ["first failed 4 times of 4", "second: open"]},
)
SPENT = replace(
    WAITING,
    id="dl-0b0000000002",
    title=HOSTILE,
    agent="architect",
    refs=(Ref("multica", "gone"),),
    task="multica:gone",
    state=LetterState.EXHAUSTED,
    tries=LETTER_TRIES,
)
CLOSED = replace(WAITING, id="dl-0c0000000003", state=LetterState.DROPPED, closed_at=NOW - MINUTE, refs=())
REPLAYING = replace(WAITING, id="dl-0d0000000004", state=LetterState.REPLAYING, refs=())


@pytest.fixture
def filled(team: Path) -> Path:
    """A letter in each state that matters, of a team that heartbeat starts."""
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text() + "dispatch: openclaw\n")
    with remembering(team) as store:
        for letter in (WAITING, SPENT, CLOSED, REPLAYING):
            store.put_letter(letter)
    return team


def at_four(team: Path, *words: str) -> Result:
    with freeze_time(AT):
        return heartbeat("dlq", *words, cwd=team)


def letters(team: Path) -> dict[str, DeadLetter]:
    with looking(team) as store:
        return {each.id: each for each in store.letters()}


def lines(done: Result) -> list[str]:
    return [" ".join(line.split()) for line in done.out.splitlines()]


def test_open_letters_are_listed_oldest_first_with_state_tries_and_why(filled: Path) -> None:
    told = lines(at_four(filled))
    assert told[0] == f"{WAITING.id} due in 12m 2 of 5 tries 18m ago coo {LOGIN} 登录页报错 500"
    assert told[1].startswith("500 红[x](http://evil)")
    assert told[2].startswith("dl-0b0000000002 exhausted 5 of 5 tries 18m ago architect multica:gone")
    assert not [line for line in told if CLOSED.id in line]
    assert [line for line in lines(at_four(filled, "list", "--all")) if line.startswith(f"{CLOSED.id} dropped")]


def test_B8_nothing_in_a_letter_moves_the_cursor(filled: Path) -> None:
    for words in (
        (),
        ("show", WAITING.id),
        ("show", SPENT.id),
        ("retry", SPENT.id),
        ("drop", SPENT.id, "--why", HOSTILE),
    ):
        done = at_four(filled, *words)
        assert not set(done.out + done.err) & {"\x1b", "\x07", "\u202e", "\x00"}, words


def test_without_letters_that_is_said_and_nothing_is_made(team: Path) -> None:
    before = tree(team)
    assert heartbeat("dlq", cwd=team).out == "No dead letter is open.\n"
    assert heartbeat("dlq", "list", "--all", cwd=team).out == "There never was a dead letter.\n"
    assert heartbeat("dlq", "--json", cwd=team).json["letters"] == []
    assert tree(team) == before


def test_B7_lost_memory_is_never_taken_for_an_empty_queue(team: Path) -> None:
    lose_memory(team)
    done = heartbeat("dlq", cwd=team)
    assert "memory-lost" in done.err
    assert done.out == ""


# show


def test_everything_that_is_needed_to_try_again_is_shown(team: Path) -> None:
    with remembering(team) as store:
        put_turns(store)
        store.put_letter(replace(WAITING, id=TURN.letter, state=LetterState.REPLAYING))
    before = tree(team)
    done = at_four(team, "show", "0123")
    assert done.code == 0, done.err
    told = lines(done)
    assert f"session {TURN.session}" in told
    assert "reasons first failed 4 times of 4; second: open" in told
    assert "replay its turn goes on: `heartbeat attempts` shows it" in told
    assert [line for line in told if line.startswith("now ") and line.endswith(", todo")]
    assert "Attempts (2)" in told
    assert [
        line for line in told if line.startswith(f"{FAILED.id[:11]} ") and "#1 failed in 1m first (first/m)" in line
    ]
    assert [line for line in told if "#2, a replay running for 3m second (second/m)" in line]
    document = at_four(team, "show", TURN.letter, "--json").json
    assert [each["dispatch"] for each in document["attempts"]] == [FAILED.id, TURN.id]
    assert document["payload"] == WAITING.payload
    assert document["task"] | {"key": "", "told": ""} == {
        "known": True,
        "over": False,
        "status": "todo",
        "key": "",
        "told": "",
    }
    assert tree(team) == before


def test_a_letter_whose_task_is_over_says_so(filled: Path) -> None:
    assert at_four(filled, "show", SPENT.id, "--json").json["task"] == {
        "known": True,
        "over": True,
        "status": None,
        "key": None,
        "told": "no source shows it any more",
    }
    over = replace(WAITING, id="dl-0e", refs=(Ref("multica", LOGIN.id),))
    with remembering(filled) as store:
        store.put_letter(over)
    issues(filled, BIZ_31="done")
    with_card = at_four(filled, "show", over.id, "--json").json["task"]
    assert with_card["known"]
    assert with_card["status"] in ("done", "todo")


def test_what_a_task_is_now_is_not_claimed_to_be_known_where_its_source_is_down(filled: Path) -> None:
    (filled / "multica.json").write_text("{")
    document = at_four(filled, "show", SPENT.id, "--json").json
    assert document["task"]["known"] is False
    assert document["task"]["over"] is False
    assert at_four(filled, "retry", SPENT.id).code == 0


def test_which_beat_replays_it_is_said(filled: Path) -> None:
    told = {each: at_four(filled, "show", each, "--json").json["replayed_by"] for each in letters(filled)}
    assert told[WAITING.id].startswith("the beat of coo at 2026-11-21 12:1")
    assert told[SPENT.id] == f"no beat: it is left for a person. `heartbeat dlq retry {SPENT.id}` tries again"
    assert told[CLOSED.id] is None
    assert told[REPLAYING.id].startswith("its turn goes on")


def test_a_letter_that_no_beat_replays_says_why(filled: Path) -> None:
    with remembering(filled) as store:
        store.put_letter(replace(WAITING, id="dl-0e", agent="nobody"))
    roster = filled / "agents.yaml"
    roster.write_text(roster.read_text().replace("dispatch: openclaw", "dispatch: none"))
    told = at_four(filled, "show", WAITING.id, "--json").json["replayed_by"]
    assert told.startswith("no beat: the roster lets none start coo (`dispatch: none`)")
    assert "nobody is not in the roster any more" in at_four(filled, "show", "dl-0e").out


# retry


def test_a_letter_that_waits_is_due_at_once_and_keeps_its_tries(filled: Path) -> None:
    done = at_four(filled, "retry", "0a", "--as", "architect")
    assert done.code == 0, done.err
    assert done.out.startswith(
        "dl-0a0000000001 coo: 登录页报错 500: due now; replayed by the beat of coo at 2026-11-21 12:"
    )
    assert letters(filled)[WAITING.id] == replace(WAITING, due_at=NOW)
    with looking(filled) as store:
        [entry] = [each for each in store.log() if each.action == "letter-retry"]
    assert (entry.agent, entry.task, entry.details) == ("coo", WAITING.task, {"letter": WAITING.id, "by": "architect"})


def test_an_exhausted_one_has_its_tries_anew(filled: Path) -> None:
    with remembering(filled) as store:
        store.put_letter(replace(SPENT, refs=(LOGIN,)))
    assert at_four(filled, "retry", SPENT.id).code == 0
    again = letters(filled)[SPENT.id]
    assert (again.state, again.tries, again.due_at) == (LetterState.WAITING, 0, NOW)


def test_all_that_wait_or_were_left_are_tried_again_but_those_whose_task_is_over(filled: Path) -> None:
    done = at_four(filled, "retry", "--all")
    assert done.code == 0
    assert f"{SPENT.id} architect: " in done.out
    assert "left as it is, its task is over; the next beat drops it" in done.out
    found = letters(filled)
    assert found[WAITING.id].due_at == NOW
    assert [found[each.id] for each in (SPENT, CLOSED, REPLAYING)] == [SPENT, CLOSED, REPLAYING]


def test_one_whose_task_is_over_is_not_tried_again(filled: Path) -> None:
    done = at_four(filled, "retry", WAITING.id, SPENT.id)
    assert done.code == 1
    assert "no source shows it any more; nothing was changed" in done.err
    assert letters(filled)[WAITING.id] == WAITING


@pytest.mark.parametrize(
    ("letter", "told"),
    [(CLOSED, "is dropped since 2026-11-21 11:59:00 CST and cannot"), (REPLAYING, "is replaying and cannot")],
)
def test_what_is_done_with_or_goes_on_cannot_be_tried_again(filled: Path, letter: DeadLetter, told: str) -> None:
    done = at_four(filled, "retry", WAITING.id, letter.id)
    assert done.code == 1
    assert told in done.err
    assert letters(filled)[WAITING.id] == WAITING


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("retry",), "nothing is named to be tried again"),
        (("retry", "--all", "dl-0a"), "--all and letters do not go together"),
        (("retry", "dl-0"), "'dl-0' begins 4 ids: "),
        (("show", "0"), "'0' begins 4 ids: "),
        (("show", ""), "no dead letter's id begins with ''"),
        (("drop", "ffff", "--why", "x"), "no dead letter's id begins with 'ffff'; nothing was changed"),
        (("drop", "--why", "x"), "nothing is named to be dropped"),
        (("drop", "dl-0a"), "nothing says why"),
    ],
)
def test_a_wrong_call_says_what_is_wrong_and_changes_nothing(filled: Path, words: tuple[str, ...], told: str) -> None:
    before = letters(filled)
    done = at_four(filled, *words)
    assert done.code == 2
    assert told in done.err
    assert letters(filled) == before


def test_a_state_that_cannot_be_written_changes_nothing(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cannot_write(monkeypatch)
    assert at_four(filled, "retry", WAITING.id).code == 4
    assert at_four(filled, "drop", WAITING.id, "--why", "x").code == 4
    monkeypatch.undo()
    assert letters(filled)[WAITING.id] == WAITING


# retry --now

ROSTER = """\
version: 1
state: state
sources:
  workboard: {transport: gateway}
agents:
  coo: {class: high_frequency, notify: [self], patrol: true, dispatch: openclaw}
"""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    """A Gateway with a card of an agent, whose dead letter was left for a person. Models hold their answers back."""
    board = FakeBoard(SteppingClock(int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1000)))
    card = Ref("workboard", board.create("登录页报错 500", agentId="coo")["id"])
    (tmp_path / "agents.yaml").write_text(ROSTER)
    with remembering(tmp_path) as store:
        store.put_letter(replace(SPENT, refs=(card,), task=str(card), agent="coo"))
    with FakeGateway(board) as gateway:
        gateway.turns.models = {gateway.turns.default: Behaviour.HELD}
        yield gateway


def now(folder: Path, gateway: FakeGateway) -> Result:
    return heartbeat("dlq", "retry", SPENT.id, "--now", cwd=folder, PATH="", **gateway.environment())


def test_X2_its_turn_is_started_here_and_now(tmp_path: Path, gateway: FakeGateway) -> None:
    done = now(tmp_path, gateway)
    assert done.code == 0, done.err
    [run] = gateway.turns.runs
    assert f"{SPENT.id} coo: " in done.out
    assert f": due now; {run} with native: running\n" in done.out
    with looking(tmp_path) as store:
        [attempt] = store.attempts()
    assert (attempt.id, attempt.letter, attempt.agent) == (run, SPENT.id, "coo")
    assert letters(tmp_path)[SPENT.id].state is LetterState.REPLAYING
    again = now(tmp_path, gateway)
    assert again.code == 1
    assert "is replaying and cannot be tried again" in again.err
    assert len(gateway.turns.runs) == 1


def test_where_nothing_can_be_begun_that_is_told_and_the_letter_stays_due(tmp_path: Path, gateway: FakeGateway) -> None:
    assert heartbeat("pause", "coo", "--for", "1h", "--why", "x", cwd=tmp_path).code == 0
    done = now(tmp_path, gateway)
    assert done.code == 1
    assert "no turn was begun" in done.err
    assert "it stays due" in done.err
    found = letters(tmp_path)[SPENT.id]
    assert (found.state, found.tries) == (LetterState.WAITING, 0)
    assert not gateway.turns.runs


def test_whoever_serves_the_agent_is_not_disturbed(tmp_path: Path, gateway: FakeGateway) -> None:
    with exclusive(tmp_path / "state" / "locks" / "coo.lock", purpose="tick"):
        done = now(tmp_path, gateway)
    assert done.code == 1
    assert "coo is being served by pid" in done.err
    assert not gateway.turns.runs


# drop


def opened(*minutes: int) -> tuple[Breaker, ...]:
    """OpenClaw's own choice for coo, and its engine, open for so many minutes."""
    names = ("native/coo", "openclaw")
    return tuple(
        Breaker(name, State.OPEN, 3, 1, NOW + length * MINUTE, why="500", changed_at=NOW - MINUTE)
        for name, length in zip(names, minutes, strict=False)
    )


def test_F2_no_beat_is_promised_before_the_first_breaker_lets_a_probe_through(filled: Path) -> None:
    usual = at_four(filled, "show", WAITING.id, "--json").json["replayed_by"]
    with remembering(filled) as store:
        for breaker in opened(300, 310):
            store.put_breaker(breaker)
    done = at_four(filled, "retry", WAITING.id)
    assert "; replayed by the beat of coo at 2026-11-21 17:1" in done.out
    assert (
        "at the earliest: nobody can be asked before 2026-11-21 17:10:00 CST: native: its breaker is open" in done.out
    )
    assert "openclaw itself: its breaker is open for 5h10m; `heartbeat providers reset`" in done.out
    shown = at_four(filled, "show", WAITING.id, "--json").json["replayed_by"]
    assert shown != usual
    assert "nobody can be asked before" in shown


def test_a_breaker_that_opens_before_the_next_beat_changes_nothing(filled: Path) -> None:
    usual = at_four(filled, "show", WAITING.id, "--json").json["replayed_by"]
    with remembering(filled) as store:
        store.put_breaker(opened(1)[0])
    assert at_four(filled, "show", WAITING.id, "--json").json["replayed_by"] == usual


def test_where_no_provider_is_enabled_no_beat_is_promised(filled: Path) -> None:
    roster = filled / "agents.yaml"
    providers = "failover: {strategy: managed}\nproviders:\n  - {name: first, model: a/b, enabled: false}\n"
    roster.write_text(roster.read_text() + providers)
    told = at_four(filled, "show", WAITING.id, "--json").json["replayed_by"]
    assert told.startswith("no beat as things stand: nobody can be asked: ")
    assert told.endswith("no provider is enabled")


def test_what_was_tried_again_or_dropped_is_told_as_json(filled: Path) -> None:
    document = at_four(filled, "retry", "--all", "--as", "coo", "--json").json
    assert (document["schema"], document["by"]) == ("heartbeat.dlq/1", "coo")
    assert {each["id"]: each["change"] for each in document["changed"]} == {SPENT.id: "left", WAITING.id: "due"}
    assert {each["id"]: each["due"] for each in document["letters"]}[WAITING.id] is True
    dropped = at_four(filled, "drop", WAITING.id, "--why", "x", "--json").json
    assert [(each["state"], each["closed_at"]) for each in dropped["letters"]] == [("dropped", AT[:-1] + ".000Z")]
    assert [each["told"] for each in dropped["changed"]] == ["dropped"]


def test_a_letter_is_given_up_with_who_and_why(filled: Path) -> None:
    done = at_four(filled, "drop", "0a", "0b", "--why", "nobody needs it", "--as", "coo")
    assert done.code == 0, done.err
    assert "The tasks stay as they are" in done.out
    found = letters(filled)
    assert found[WAITING.id] == replace(WAITING, state=LetterState.DROPPED, closed_at=NOW)
    assert found[SPENT.id].state is LetterState.DROPPED
    with looking(filled) as store:
        entries = [each for each in store.log() if each.action == "letter-dropped"]
    assert [each.details for each in entries] == [
        {"letter": each.id, "by": "coo", "why": "nobody needs it"} for each in (WAITING, SPENT)
    ]


def test_one_whose_turn_goes_on_says_that_it_does(filled: Path) -> None:
    done = at_four(filled, "drop", REPLAYING.id, "--why", "x")
    assert "dropped; its turn goes on (`heartbeat abort` stops it)" in done.out
    assert at_four(filled, "drop", REPLAYING.id, "--why", "x").code == 1


def test_a_long_list_shows_the_newest_and_says_how_many_there_are(filled: Path) -> None:
    with remembering(filled) as store:
        for number in range(60):
            made = NOW + timedelta(seconds=number)
            store.put_letter(replace(WAITING, id=f"dl-ff{number:010}", created_at=made, refs=()))
    told = lines(at_four(filled))
    assert told[0] == "13 earlier ones are not listed: --json has them"
    assert told[-2].startswith("dl-ff0000000059 ")
    assert len(at_four(filled, "--json").json["letters"]) == 63
