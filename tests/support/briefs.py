"""Briefs built by hand, and a prompt taken apart into what heartbeat says and what the task's sources say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from heartbeat.attempt import Attempt, Cause, Engine, Life, Outcome
from heartbeat.dispatch.prompt import Brief, prompt_of, prompt_template
from heartbeat.render.template import TemplateFile
from heartbeat.task import Item, Task
from tests.support.items import NOW
from tests.support.rosters import make_coo

NONCE = "3f9c02b7d18e46a59b7c60f1e2d3845a"


@dataclass(frozen=True, slots=True)
class Parts:
    """A prompt: before the data block, the block's document, after it. The delimiting lines belong to neither side."""

    before: str
    document: dict[str, Any]
    after: str
    text: str

    @property
    def outside(self) -> str:
        return f"{self.before}\n{self.after}"


@cache
def template() -> TemplateFile:
    return prompt_template()


def make_task(*items: Item, **changes: Any) -> Task:
    first = items[0]
    fields: dict[str, Any] = {
        "status": first.status,
        "priority": first.priority,
        "owner": first.owner,
        "due": first.due,
        **changes,
    }
    return Task(items=items, **fields)


def make_brief(*items: Item, **changes: Any) -> Brief:
    """The COO's brief about a task of these items. Keywords are fields of `Brief`."""
    fields: dict[str, Any] = {"agent": make_coo(), "now": NOW, "operator": "Vincent", **changes}
    return Brief(make_task(*items), **fields)


def make_attempt(item: Item, number: int, outcome: Outcome = Outcome.FAILED, error: str = "") -> Attempt:
    """A turn that has ended an hour ago, less a minute for each after the first."""
    ended = NOW - timedelta(minutes=60 - number)
    return Attempt(
        id=f"hb-{number:032x}",
        task=str(item.ref),
        refs=(item.ref,),
        title=item.title,
        agent="coo",
        number=number,
        engine=Engine.OPENCLAW,
        provider="native",
        planned_at=ended - timedelta(minutes=5),
        life=Life.ENDED,
        accepted_at=ended - timedelta(minutes=4),
        ended_at=ended,
        outcome=outcome,
        cause=None if outcome is Outcome.COMPLETED else Cause.COUNTS,
        error=error,
    )


def parts_of(brief: Brief, nonce: str = NONCE) -> Parts:
    """The prompt of a brief, taken apart at its two delimiting lines, of which there must be one each."""
    text = prompt_of(brief, nonce, template())
    lines = text.split("\n")
    first, last = (index for index, line in enumerate(lines) if nonce in line.lower())
    assert lines[first] == f"===== 数据开始 {nonce} ====="
    assert lines[last] == f"===== 数据结束 {nonce} ====="
    document = json.loads("\n".join(lines[first + 1 : last]))
    return Parts("\n".join(lines[:first]), document, "\n".join(lines[last + 1 :]), text)
