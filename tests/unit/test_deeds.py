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
        beats=(SimpleNamespace(receipt="written"),),
        carried=SimpleNamespace(busy="", done=(), conflicts=(), later=(), dead=()),
        delivered=SimpleNamespace(sent=sent, notes=()),
    )
    assert list(deeds(tick)) == told
