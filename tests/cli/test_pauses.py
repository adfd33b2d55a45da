"""`heartbeat hold`, `heartbeat pause` and `heartbeat resume` (rules T5, B7, B8)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time

from heartbeat.instants import to_text
from heartbeat.memory import EVERYBODY, Hold, Pause
from heartbeat.store.port import Link
from heartbeat.task import Ref
from tests.support.command import heartbeat, tree
from tests.support.operations import (
    AT,
    GOALS,
    HOSTILE,
    INCIDENT,
    MINUTE,
    NOW,
    cannot_write,
    issues,
    looking,
    lose_memory,
    remembering,
    retitled,
)

HOUR = timedelta(hours=1)


def holds(team: Path) -> dict[Ref, Hold]:
    with looking(team) as store:
        return dict(store.holds())


def pauses(team: Path) -> tuple[Pause, ...]:
    with looking(team) as store:
        return store.pauses()


def actions(team: Path) -> list[str]:
    with looking(team) as store:
        return [entry.action for entry in store.log()]


def test_without_state_nothing_stands_and_nothing_is_made(team: Path) -> None:
    before = tree(team)
    done = heartbeat("pause", cwd=team)
    assert (done.code, done.out) == (0, "Nobody is paused, and no hold stands.\n")
    document = heartbeat("pause", "--json", cwd=team).json
    assert (document["schema"], document["pauses"], document["holds"]) == ("heartbeat.pauses/1", [], [])
    assert tree(team) == before


def test_T5_a_long_operation_is_declared_and_lifted(team: Path) -> None:
    with freeze_time(AT):
        done = heartbeat("hold", "BIZ-28", "--for", "40m", "--why", "全量编译", "--as", "coo", cwd=team)
        assert done.out == (
            "BIZ-28 季度运营目标拆解: held until 2026-11-21 12:40:00 CST; `heartbeat hold BIZ-28 --end` lifts it\n"
        )
        assert holds(team) == {GOALS: Hold(GOALS, NOW, NOW + 40 * MINUTE, "全量编译", "coo")}
        ended = heartbeat("hold", "BIZ-28", "--end", "--why", "早完成了", "--as", "coo", cwd=team)
        assert ended.out == "BIZ-28 季度运营目标拆解: held no longer\n"
        assert heartbeat("hold", "BIZ-28", "--end", cwd=team).out == "BIZ-28 季度运营目标拆解: no hold stands on it\n"
    assert holds(team) == {}
    with looking(team) as store:
        begun, over = store.log()
    assert (begun.action, begun.agent, begun.task) == ("hold-begun", "coo", str(GOALS))
    assert begun.details == {"by": "coo", "why": "全量编译", "until": "2026-11-21T04:40:00+00:00"}
    assert (over.action, over.details) == ("hold-ended", {"by": "coo", "why": "早完成了"})


def test_a_hold_stands_on_every_record_of_the_task_and_a_later_one_replaces_it(team: Path) -> None:
    heartbeat("hold", "BIZ-31", "--for", "40m", "--why", "a", cwd=team)
    assert {ref.source for ref in holds(team)} == {"workboard", "multica"}
    heartbeat("hold", "BIZ-31", "--for", "10m", "--why", "b", cwd=team)
    assert {hold.why for hold in holds(team).values()} == {"b"}
    (told,) = heartbeat("pause", "--json", cwd=team).json["holds"]
    assert [ref.split(":")[0] for ref in told["refs"]] == ["multica", "workboard"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--why", "x"], 2, "nothing says how long the hold stands"),
        (["--for", "40m"], 2, "nothing says why"),
        (["--for", "40m", "--why", "\x1b[31m"], 2, "nothing says why"),
        (["--for", "forty", "--why", "x"], 2, "--for: 'forty' is not a duration"),
        (["--for", "0m", "--why", "x"], 2, "--for: '0m' is no time at all"),
        (["--for", "999999d", "--why", "x"], 0, ""),
        (["--for", "9999999d", "--why", "x"], 2, "--for: longer than heartbeat can count"),
        (["--for", "40m", "--end", "--why", "x"], 2, "--end and --for do not go together"),
        (["--for", "40m", "--why", "x", "--as", "stranger"], 2, "no agent called 'stranger'"),
    ],
)
def test_a_hold_says_how_long_and_why(team: Path, words: list[str], code: int, told: str) -> None:
    done = heartbeat("hold", "BIZ-28", *words, cwd=team)
    assert (done.code, told in done.err) == (code, True), done.err
    assert bool(holds(team)) is (code == 0)


def test_a_closed_task_is_not_held_and_a_missing_one_neither(team: Path) -> None:
    issues(team, BIZ_28="done")
    closed = heartbeat("hold", "BIZ-28", "--for", "40m", "--why", "x", cwd=team)
    assert (closed.code, "is closed; there is nothing to hold" in closed.err) == (1, True)
    assert heartbeat("hold", "BIZ-99", "--for", "40m", "--why", "x", cwd=team).code == 2
    assert holds(team) == {}


def test_S2_a_task_that_memory_knows_is_held_while_the_sources_are_down(team: Path) -> None:
    card = Ref("workboard", "c0ffee99-0000-4000-8000-000000000000")
    with remembering(team) as store:
        store.put_incident(INCIDENT)
        store.remember_links([Link(GOALS, card, "title", NOW)])
    (team / "multica.json").write_text("")
    (team / "workboard.json").write_text("")
    done = heartbeat("hold", GOALS.id[:13], "--for", "40m", "--why", "x", cwd=team)
    assert done.out.startswith(f"{GOALS} 季度运营目标拆解: held until ")
    assert set(holds(team)) == {GOALS, card}
    ended = heartbeat("hold", str(card), "--end", cwd=team)
    assert (ended.code, holds(team)) == (0, {})


def test_a_hold_that_ran_out_does_not_stand(team: Path) -> None:
    with remembering(team) as store:
        store.put_hold(Hold(GOALS, NOW - HOUR, NOW, "x"))
        store.put_pause(Pause("coo", NOW - HOUR, NOW, "x"))
    with freeze_time(AT):
        assert heartbeat("pause", cwd=team).out == "Nobody is paused, and no hold stands.\n"
        assert "no hold stands on it" in heartbeat("hold", "BIZ-28", "--end", cwd=team).out
        assert heartbeat("resume", "coo", cwd=team).out == "coo: was not paused\n"
    assert actions(team) == []


def test_agents_are_paused_and_resumed(team: Path) -> None:
    with freeze_time(AT):
        done = heartbeat(
            "pause", "coo", "architect", "coo", "--for", "2h", "--why", "搬家", cwd=team, LOGNAME="vincent"
        )
    assert done.out.splitlines() == [
        "coo: paused until 2026-11-21 14:00:00 CST",
        "architect: paused until 2026-11-21 14:00:00 CST",
    ]
    assert pauses(team) == (
        Pause("architect", NOW, NOW + 2 * HOUR, "搬家", "vincent"),
        Pause("coo", NOW, NOW + 2 * HOUR, "搬家", "vincent"),
    )
    with freeze_time(AT):
        listed = heartbeat("pause", cwd=team)
        again = heartbeat("pause", "coo", "--why", "longer", cwd=team)
        resumed = heartbeat("resume", "coo", "costcodev", "--why", "ok", cwd=team)
    assert "coo        until 2026-11-21 14:00:00 CST  by vincent  搬家" in listed.out
    assert again.out == "coo: paused until resumed, in place of an earlier pause\n"
    assert resumed.out == "coo: resumed\ncostcodev: was not paused\n"
    assert [pause.agent for pause in pauses(team)] == ["architect"]
    assert actions(team) == ["paused", "paused", "paused", "resumed"]


def test_everybody_is_paused_and_resumed(team: Path) -> None:
    heartbeat("pause", "coo", "--why", "x", cwd=team)
    assert heartbeat("pause", "--all", "--why", "搬家", cwd=team).out == "everybody: paused until resumed\n"
    document = heartbeat("pause", "--json", cwd=team).json
    assert [(pause["agent"], pause["until"], pause["why"]) for pause in document["pauses"]] == [
        (None, None, "搬家"),
        ("coo", None, "x"),
    ]
    one = heartbeat("resume", "coo", cwd=team)
    assert one.out == "coo: resumed; everybody is paused still: `heartbeat resume --all`\n"
    assert [pause.agent for pause in pauses(team)] == [EVERYBODY]
    assert heartbeat("resume", "--all", cwd=team).out == "everybody: resumed\n"
    assert heartbeat("resume", "--all", cwd=team).out == "nobody is paused\n"
    assert pauses(team) == ()


def test_an_agent_that_left_the_roster_can_still_be_resumed(team: Path) -> None:
    with remembering(team) as store:
        store.put_pause(Pause("retired", NOW, None, "x"))
    assert heartbeat("resume", "retired", cwd=team).out == "retired: resumed\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pause", "coo"], "nothing says why"),
        (["pause", "--why", "x"], "nobody is named to be paused"),
        (["pause", "--for", "2h"], "nobody is named to be paused"),
        (["pause", "coo", "--all", "--why", "x"], "--all and agent names do not go together"),
        (["pause", "stranger", "--why", "x"], "no agent called 'stranger'"),
        (["pause", "coo", "--for", "never", "--why", "x"], "'never' is not a duration"),
        (["pause", "coo", "--json"], "nothing says why"),
        (["resume"], "nobody is named to be resumed"),
        (["resume", "coo", "--all"], "--all and agent names do not go together"),
        (["resume", "stranger"], "no agent called 'stranger'"),
    ],
)
def test_a_wrong_call_changes_nothing(team: Path, words: list[str], told: str) -> None:
    done = heartbeat(*words, cwd=team)
    assert (done.code, told in done.err) == (2, True), done.err
    assert (pauses(team), actions(team)) == ((), [])


def test_B7_lost_memory_is_told_and_a_pause_still_works(team: Path) -> None:
    lose_memory(team)
    listed = heartbeat("pause", cwd=team)
    assert (listed.code, "memory-lost" in listed.err) == (0, True)
    for words in (["pause", "coo", "--why", "x"], ["hold", "BIZ-28", "--for", "1h", "--why", "x"], ["resume", "coo"]):
        done = heartbeat(*words, cwd=team)
        assert (done.code, "memory-lost" in done.err) == (0, True)
    assert set(holds(team)) == {GOALS}


def test_where_the_state_cannot_be_written_pauses_are_listed_only(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat("pause", "coo", "--why", "x", cwd=team)
    cannot_write(monkeypatch)
    before = tree(team)
    assert "coo" in heartbeat("pause", cwd=team).out
    for words in (
        ["pause", "--all", "--why", "x"],
        ["resume", "coo"],
        ["hold", "BIZ-28", "--for", "1h", "--why", "x"],
    ):
        assert heartbeat(*words, cwd=team).code == 4
    assert tree(team) == before


def test_a_state_directory_that_cannot_be_made_is_told(team: Path) -> None:
    (team / "file").write_text("")
    done = heartbeat("pause", "coo", "--why", "x", cwd=team, HEARTBEAT_HOME=str(team / "file" / "state"))
    assert (done.code, "cannot be used" in done.err) == (4, True)


def test_B8_hostile_text_moves_no_cursor(team: Path) -> None:
    retitled(team, "BIZ-28", title=HOSTILE)
    reason = HOSTILE.replace("\x00", "")
    told = [
        heartbeat("hold", "BIZ-28", "--for", "1h", "--why", reason, cwd=team),
        heartbeat("pause", "coo", "--why", reason, cwd=team),
        heartbeat("pause", cwd=team),
    ]
    for done in told:
        assert done.code == 0
        assert not set("\x1b\x07\x00\r\u202e") & set(done.out + done.err)
    assert "$(touch pwned)" in told[2].out


def test_the_command_that_lifts_a_hold_can_be_typed_as_it_stands(team: Path) -> None:
    retitled(team, "BIZ-28", identifier="BIZ 28;reboot")
    done = heartbeat("hold", GOALS.id, "--for", "1h", "--why", "x", cwd=team)
    assert "`heartbeat hold 'BIZ 28;reboot' --end` lifts it" in done.out
    assert heartbeat("hold", "BIZ 28;reboot", "--end", cwd=team).out.endswith("held no longer\n")


def test_the_command_that_ends_a_pause_can_be_typed_as_it_stands(team: Path) -> None:
    with freeze_time(AT):
        heartbeat("pause", "coo", "--why", "x", cwd=team)
        assert "coo is paused (x)" in (told := heartbeat("tick", "coo", cwd=team).out)
        assert "`heartbeat resume coo` ends it" in told
        heartbeat("resume", "coo", cwd=team)
        heartbeat("pause", "--all", "--why", "搬家", cwd=team)
        assert "everybody is paused (搬家)" in (told := heartbeat("tick", "coo", cwd=team).out)
        assert "`heartbeat resume --all` ends it" in told
        reasons = heartbeat("explain", "BIZ-28", "--json", cwd=team).json["reasons"]
    assert [each["message"] for each in reasons if each["about"] == "pause"] == [
        "everybody is paused until it is resumed: 搬家"
    ]


def test_pause_and_resume_tell_as_json_what_changed_and_what_stands_then(team: Path) -> None:
    with freeze_time(AT):
        first = heartbeat("pause", "coo", "architect", "--for", "2h", "--why", "moving house", "--json", cwd=team).json
        again = heartbeat("pause", "coo", "--why", "longer", "--json", cwd=team).json
        ended = heartbeat("resume", "coo", "costcodev", "--json", cwd=team).json
        nobody = heartbeat("resume", "--all", "--json", cwd=team)
    assert first["schema"] == "heartbeat.pauses/1"
    assert first["changed"] == [{"agent": "coo", "change": "paused"}, {"agent": "architect", "change": "paused"}]
    assert {each["agent"] for each in first["pauses"]} == {"coo", "architect"}
    assert again["changed"] == [{"agent": "coo", "change": "replaced"}]
    assert {each["agent"]: each["until"] for each in again["pauses"]}["coo"] is None
    assert ended["changed"] == [{"agent": "coo", "change": "resumed"}, {"agent": "costcodev", "change": "none"}]
    assert [each["agent"] for each in ended["pauses"]] == ["architect"]
    assert nobody.json["pauses"] == []
    with freeze_time(AT):
        everybody = heartbeat("pause", "--all", "--why", "x", "--json", cwd=team).json
    assert everybody["changed"] == [{"agent": None, "change": "paused"}]


def test_a_hold_is_told_as_json_when_it_begins_and_when_it_ends(team: Path) -> None:
    with freeze_time(AT):
        begun = heartbeat("hold", "BIZ-28", "--for", "40m", "--why", "build", "--as", "coo", "--json", cwd=team).json
        ended = heartbeat("hold", "BIZ-28", "--end", "--json", cwd=team).json
        again = heartbeat("hold", "BIZ-28", "--end", "--json", cwd=team).json
    assert begun["hold"] == {"since": to_text(NOW), "until": to_text(NOW + 40 * MINUTE), "why": "build", "by": "coo"}
    assert (begun["key"] in begun["refs"], begun["ended"]) == (True, False)
    assert (ended["hold"], ended["ended"], again["ended"]) == (None, True, False)
