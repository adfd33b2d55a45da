"""What a tick did, in sentences."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from heartbeat.cli.deeds import deeds


@pytest.mark.parametrize(("sent", "told"), [(0, []), (1, ["1 message sent"]), (2, ["2 messages sent"])])
def test_messages_are_counted_in_plain_english(sent: int, told: list[str]) -> None:
    tick: Any = SimpleNamespace(
        observation=SimpleNamespace(judgement=SimpleNamespace(tasks={})),
        beats=(SimpleNamespace(receipt="written", deferred=""),),
        carried=SimpleNamespace(busy="", done=(), conflicts=(), later=(), dead=()),
        delivered=SimpleNamespace(sent=sent, notes=()),
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
    )
    assert list(deeds(tick)) == ["deferred: a person is talking"]
