"""Whatever a title says, a whole beat decides the same, asks for the same, and says the same outside the data (X4)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.faults.test_prompt_injection import TITLES
from tests.support.dispatching import DispatchTeam, card, worker
from tests.support.engines import Hang, StandInSpawner
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld

_BLOCK = re.compile(
    r"===== 数据开始 (?P<nonce>[0-9a-f]{32}) =====\n(?P<data>.*?)\n===== 数据结束 (?P=nonce) =====", re.DOTALL
)
_ID = "5f0c2f7e-8f1b-4a39-9d52-0c6a3f1e2b77"


def beaten(folder: Path, title: str) -> tuple[dict[str, Any], str, str]:
    """What the beat decided, what it told the agent outside the data, and the session."""
    items = (card(_ID, "a", title=title), card("other", "a", title="Something else"))
    group = DispatchTeam(ScriptedWorld(ScriptedSystem(*items)), folder, (worker("a"),), engine=StandInSpawner(Hang()))
    record = dict(group.dispatched("a").record)
    [order] = group.engine.orders
    found = _BLOCK.search(order.message)
    assert found is not None
    outside = (order.message[: found.start()] + order.message[found.end() :]).replace(str(folder), "FOLDER")
    record.pop("dispatch")
    return record, outside, order.attempt.session


def test_X4_a_hundred_hostile_titles_change_neither_the_decision_nor_anything_outside_the_data(tmp_path: Path) -> None:
    calm = beaten(tmp_path / "calm", "Write the report")
    assert calm[0]["decision"] == "start"
    for number, title in enumerate(TITLES):
        assert beaten(tmp_path / str(number), title) == calm, f"title {number}: {title[:60]!r}"
