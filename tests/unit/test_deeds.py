"""What a tick did, in sentences."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from heartbeat.attempt import Outcome
from heartbeat.cli.deeds import deeds
from heartbeat.dispatch.collect import Collected
from heartbeat.dispatch.round import Round
from tests.support.operations import FAILED, LOGIN, TURN


@pytest.mark.parametrize(("sent", "told"), [(0, []), (1, ["1 message sent"]), (2, ["2 messages sent"])])
def test_messages_are_counted_in_plain_english(sent: int, told: list[str]) -> None:
    tick: Any = SimpleNamespace(
        observation=SimpleNamespace(judgement=SimpleNamespace(tasks={})),
        beats=(SimpleNamespace(receipt="written", deferred=""),),
        carried=SimpleNamespace(busy="", done=(), conflicts=(), later=(), dead=()),
        delivered=SimpleNamespace(sent=sent, notes=()),
        round=Round(),
    )
    assert list(deeds(tick)) == told


@pytest.mark.parametrize("receipt", ["written", None])
def test_B4_what_is_put_off_is_told_of_a_beat_and_of_its_rehearsal(receipt: str | None) -> None:
    tick: Any = SimpleNamespace(
        observation=SimpleNamespace(judgement=SimpleNamespace(tasks={})),
        beats=tuple(SimpleNamespace(receipt=receipt, deferred=why) for why in ("", "deferred: a person is talking")),
        carried=SimpleNamespace(busy="", done=(), conflicts=(), later=(), dead=()),
        plan=SimpleNamespace(writes=(), nudges=(), messages=()),
        delivered=None,
        round=Round(),
    )
    assert list(deeds(tick)) == ["deferred: a person is talking"]


def test_X6_what_was_collected_is_told_by_the_name_that_people_use() -> None:
    ended, unseen = replace(FAILED, outcome=Outcome.FAILED, error="500"), (TURN, "nothing answers")
    login = SimpleNamespace(items=(SimpleNamespace(key="BIZ-31"),))
    tick: Any = SimpleNamespace(
        observation=SimpleNamespace(judgement=SimpleNamespace(tasks={str(LOGIN): login})),
        beats=(SimpleNamespace(receipt="written", deferred=""),),
        carried=SimpleNamespace(busy="", done=(), conflicts=(), later=(), dead=()),
        delivered=None,
        round=Round(Collected(ended=(ended,), unseen=(unseen,))),
    )
    assert list(deeds(tick)) == [
        "dispatch: attempt 1 of coo on BIZ-31 failed: 500",
        "dispatch: attempt 2 of coo could not be looked at: nothing answers",
    ]
