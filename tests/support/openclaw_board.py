"""One known board for every WorkBoard test, filled by RPC: the same for a fake Gateway and a real one.

It holds a card of each kind that the translation tells apart, in two languages, on three boards. Fill it into an
empty Gateway, which may hold other boards but no other running cards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Call = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""`call(method, params)` sends one request and returns the payload of its answer."""

HOSTILE = "$(touch /tmp/owned) `id` --force; rm -rf . \x1b[31mred\x1b[0m \u202e倒 <!-- {{ 7*7 }} -->"
LONGEST = "长" * 178 + "🚀"
"""180 UTF-16 units, which is how the Gateway counts its limit of 180 characters."""

TITLES: Mapping[str, str] = {
    "parent": "BIZ-12 定义登录接口",
    "child": "BIZ-31 登录页报错",
    "finished": "Rotate the signing keys",
    "freed": "Announce the new signing keys",
    "claimed": "起草第三季度复盘",
    "archived": "旧的周报模板",
    "archived_unfinished": "Migrate the wiki",
    "blocked": "Upgrade the database",
    "scheduled": "年度合同续签",
    "review": "Review the onboarding guide",
    "ready": "整理客户反馈",
    "backlog": "Collect ideas for the retreat",
    "triage": "Printer on floor 3 is out of paper",
    "unowned": "Answer the press enquiry",
    "stranger": "Design the trade-fair booth",
    "hostile": HOSTILE,
    "longest": LONGEST,
}
"""Every card's title by the name that tests call it."""

ARCHIVED = frozenset({"archived", "archived_unfinished"})
CLAIM_OWNER = "coo"


@dataclass(frozen=True, slots=True)
class KnownBoard:
    """What was filled in. `ids` gives each card's id by the name that `TITLES` calls it."""

    ids: Mapping[str, str]
    scheduled_at: int
    """When the scheduled card becomes due, in epoch milliseconds."""

    @property
    def titles(self) -> frozenset[str]:
        """What a complete read gives: archived cards too, marked as such."""
        return frozenset(TITLES.values())

    def name_of(self, card_id: str) -> str:
        """The name of a card by its id."""
        return next(name for name, id_ in self.ids.items() if id_ == card_id)


def fill(call: Call, scheduled_at: int) -> KnownBoard:
    """Fills the known board. `scheduled_at`, in epoch milliseconds, lies in the Gateway's future."""
    ids: dict[str, str] = {}

    def create(name: str, **fields: Any) -> None:
        ids[name] = call("workboard.cards.create", {"title": TITLES[name], **fields})["card"]["id"]

    def change(method: str, name: str, **fields: Any) -> None:
        call(f"workboard.cards.{method}", {"id": ids[name], **fields})

    create("parent", agentId="architect", priority="high", notes="objective: one login interface")
    create(
        "child",
        agentId="coo",
        priority="urgent",
        labels=["登录", "p0"],
        sourceUrl="https://multica.example/issues/BIZ-31",
        notes="打开登录页时报错 500",
    )
    call("workboard.cards.linkDependency", {"parentId": ids["parent"], "childId": ids["child"]})

    create("finished", agentId="architect", boardId="ops")
    create("freed", agentId="secretary", boardId="ops", parents=[ids["finished"]])
    change(
        "complete",
        "finished",
        summary="Keys rotated, old ones revoked.",
        proof={"status": "passed", "label": "smoke test", "command": "make smoke"},
    )

    create("claimed", agentId="secretary", priority="high", boardId="growth", maxRuntimeSeconds=3600)
    claim = call("workboard.cards.claim", {"id": ids["claimed"], "ownerId": CLAIM_OWNER, "ttlSeconds": 7200})
    change("heartbeat", "claimed", token=claim["token"], note="已完成提纲")
    change("comment", "claimed", body="Numbers of July are in the shared folder.")

    create("archived", agentId="secretary", status="done")
    change("archive", "archived", archived=True)
    create("archived_unfinished", agentId="architect", status="todo", boardId="ops")
    change("archive", "archived_unfinished", archived=True)

    create("blocked", agentId="architect", boardId="ops")
    change("block", "blocked", reason="等待 DBA 确认维护窗口")
    create("scheduled", agentId="coo", priority="low", status="scheduled", scheduledAt=scheduled_at)
    create("review", agentId="coo", boardId="growth")
    change("move", "review", status="review")
    create("ready", agentId="secretary", boardId="growth", labels=["客户"])
    change("promote", "ready", reason="triaged")
    create("backlog", agentId="coo", priority="low", status="backlog")
    create("triage", status="triage")
    create("unowned", priority="high")
    create("stranger", agentId="trade-fair-team", boardId="growth")
    change("link", "stranger", type="relates_to", targetCardId=ids["claimed"])
    create("hostile", agentId="coo", labels=["--all", "$(id)"])
    create("longest", agentId="architect")
    return KnownBoard(ids, scheduled_at)
