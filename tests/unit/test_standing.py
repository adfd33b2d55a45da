"""What is on schedule, and what becomes of it when agents are added, taken off, or leave the roster."""

from __future__ import annotations

import pytest

from heartbeat.errors import UsageError
from heartbeat.install.base import Order, Style
from heartbeat.install.install import Elsewhere, completed, refuse_second
from heartbeat.install.standing import NOTHING, Standing, left, wanted_standing
from tests.support.rosters import make_agent
from tests.support.schedules import make_launch, order, team

TEAM = team(make_agent("coo"), make_agent("writer"), make_agent("lawyer"))
EVERYBODY = Standing(Style.DUE, (), watchdog=True)
TWO = Standing(Style.DUE, ("coo", "writer"), watchdog=True)


def test_an_order_without_agents_is_exactly_what_will_stand() -> None:
    assert wanted_standing(TWO, order(TEAM, Style.EACH, watchdog=False)) == Standing(Style.EACH)
    assert wanted_standing(TWO, order(TEAM, beats=False)) == Standing(None, (), watchdog=True)


def test_named_agents_come_to_those_that_are_there() -> None:
    assert wanted_standing(TWO, order(TEAM, agents=["lawyer"])).agents == ("coo", "writer", "lawyer")
    assert wanted_standing(TWO, order(TEAM, agents=["coo"])) == TWO
    assert wanted_standing(NOTHING, order(TEAM, agents=["coo"])) == Standing(Style.DUE, ("coo",), watchdog=True)


def test_where_everybody_is_on_schedule_nobody_is_missing() -> None:
    assert wanted_standing(EVERYBODY, order(TEAM, agents=["coo"], watchdog=False)) == EVERYBODY


def test_a_target_has_one_style_for_all_its_agents() -> None:
    with pytest.raises(UsageError, match=r"another style \(due, not each\)"):
        wanted_standing(TWO, order(TEAM, Style.EACH, ["lawyer"]))
    with pytest.raises(UsageError, match="another style"):
        wanted_standing(EVERYBODY, order(TEAM, Style.EACH, ["lawyer"]))
    assert wanted_standing(TWO, order(TEAM, Style.EACH, ["writer", "coo"])).style is Style.EACH


def test_agents_that_the_roster_does_not_have_any_more_fall_away() -> None:
    gone = Standing(Style.DUE, ("ghost", "coo"), watchdog=True)
    assert wanted_standing(gone, order(TEAM, agents=["writer"])).agents == ("coo", "writer")
    assert left(gone, order(TEAM, agents=["writer"])).agents == ("coo",)
    assert left(gone, order(TEAM, agents=["coo"])) == NOTHING


def test_taking_off_leaves_the_others() -> None:
    assert left(TWO, order(TEAM, agents=["writer"])) == Standing(Style.DUE, ("coo",), watchdog=True)
    assert left(EVERYBODY, order(TEAM, agents=["coo"])).agents == ("writer", "lawyer")
    assert left(TWO, order(TEAM, agents=["lawyer"])) == TWO
    assert left(TWO, order(TEAM)) == NOTHING


def test_the_last_agent_takes_the_watchdog_along() -> None:
    assert left(TWO, order(TEAM, agents=["coo", "writer"])) == NOTHING


def test_a_watchdog_without_beats_is_not_touched_by_names() -> None:
    alone = Standing(None, (), watchdog=True)
    assert left(alone, order(TEAM, agents=["coo"])) == alone
    assert left(alone, order(TEAM)) == NOTHING


@pytest.mark.parametrize(
    ("standing", "words", "expected"),
    [
        (NOTHING, {}, (Style.DUE, (), True, True)),
        (TWO, {}, (Style.DUE, ("coo", "writer"), True, True)),
        (TWO, {"everybody": True}, (Style.DUE, (), True, True)),
        (TWO, {"style": Style.EACH}, (Style.EACH, ("coo", "writer"), True, True)),
        (TWO, {"agents": ("lawyer",), "watchdog": False}, (Style.DUE, ("lawyer",), True, False)),
        (Standing(Style.EACH), {}, (Style.EACH, (), True, False)),
        (Standing(None, (), watchdog=True), {}, (Style.DUE, (), False, True)),
        (Standing(None, (), watchdog=True), {"beats": True}, (Style.DUE, (), True, True)),
        (EVERYBODY, {"beats": False, "watchdog": True}, (Style.DUE, (), False, True)),
    ],
)
def test_what_is_not_said_stays_as_it_stands(standing: Standing, words: dict, expected: tuple) -> None:
    made = completed(standing, TEAM, make_launch(), Style.DUE, **words)
    assert (made.style, made.agents, made.beats, made.watchdog) == expected


def test_a_schedule_of_agents_that_are_all_gone_is_not_silently_one_for_everybody() -> None:
    gone = Standing(Style.DUE, ("ghost",))
    with pytest.raises(UsageError, match=r"none of the agents on schedule \(ghost\) is in"):
        completed(gone, TEAM, make_launch(), Style.DUE)
    assert completed(gone, TEAM, make_launch(), Style.DUE, everybody=True).agents == ()


BEATING_AT_CRONTAB = Elsewhere("crontab", TWO)


@pytest.mark.parametrize(
    ("agents", "there", "told"),
    [
        ((), BEATING_AT_CRONTAB, r"crontab has the beats of coo, writer on schedule already"),
        (("coo",), BEATING_AT_CRONTAB, "crontab has the beats of coo on schedule already"),
        (("coo",), Elsewhere("openclaw", EVERYBODY), "openclaw has the beats of everybody on schedule already"),
        (
            ("coo",),
            Elsewhere("openclaw", Standing(Style.EACH), agents=("coo", "lawyer")),
            "the beats of coo on schedule",
        ),
    ],
)
def test_a_second_schedule_for_the_same_agents_is_refused(agents: tuple, there: Elsewhere, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        refuse_second(order(TEAM, agents=agents), [there])
    assert f"--target {there.target}" in caught.value.advice


@pytest.mark.parametrize(
    ("wish", "there"),
    [
        (order(TEAM, agents=["lawyer"]), BEATING_AT_CRONTAB),
        (order(TEAM, agents=["writer"]), Elsewhere("openclaw", Standing(Style.EACH), agents=("coo", "lawyer"))),
        (order(TEAM, beats=False), BEATING_AT_CRONTAB),
        (order(TEAM), Elsewhere("openclaw", None, "the Gateway does not answer")),
    ],
)
def test_what_beats_for_others_or_is_not_known_is_no_second_schedule(wish: Order, there: Elsewhere) -> None:
    refuse_second(wish, [there])


def test_the_advice_takes_off_those_alone_who_would_beat_twice() -> None:
    with pytest.raises(UsageError) as caught:
        refuse_second(order(TEAM, agents=["coo"]), [Elsewhere("systemd-user", TWO)])
    assert "`heartbeat cron remove coo --target systemd --user`" in caught.value.advice
