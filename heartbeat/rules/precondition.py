"""Whether a write may still happen, judged on what was read just before it (rules L6, S5, T7). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from heartbeat.action import Expectation
from heartbeat.instants import to_text
from heartbeat.rules.activity import ACTIVITY, short_name
from heartbeat.task import Evidence, Item, Ref


def objections(
    expect: Expectation,
    item: Item,
    *,
    evidence: Iterable[Evidence],
    claimant: str,
    active: bool | None,
    own: frozenset[tuple[Ref, str]] = frozenset(),
) -> tuple[str, ...]:
    """What no longer holds, in words; nothing where the write may happen."""
    return tuple(_objections(expect, item, tuple(evidence), claimant, active, own))


def _objections(
    expect: Expectation,
    item: Item,
    evidence: tuple[Evidence, ...],
    claimant: str,
    active: bool | None,
    own: frozenset[tuple[Ref, str]],
) -> Iterable[str]:
    if expect.statuses is not None and item.status not in expect.statuses:
        yield f"{item.key} is {item.status.value.replace('_', ' ')} now"
    if expect.owner is not None and item.owner != expect.owner:
        yield f"{item.key} belongs to {item.owner.id or 'nobody'} now"
    if expect.claimant is not None and claimant != expect.claimant:
        yield f"{item.key} is claimed by {claimant or 'nobody'} now"
    if expect.began_at is not None and item.started_at is not None and item.started_at > expect.began_at:
        yield f"{item.key} was claimed anew at {to_text(item.started_at)}"
    if expect.revision is not None and item.revision != expect.revision:
        yield f"{item.key} was edited meanwhile"
    if expect.idle_since is not None:
        known = frozenset(expect.seen.split())
        later = (each for each in evidence if each.kind in ACTIVITY and each.at > expect.idle_since)
        foreign = (each for each in later if not each.own and (each.ref, each.id) not in own)
        signs = [each.at for each in foreign if short_name(each) not in known]
        if signs:
            yield f"{item.key} has had activity since, at {to_text(max(signs))}"
    if expect.no_run and active is not False:
        yield (
            f"a run on {item.key} is active" if active else f"it cannot be known whether a run on {item.key} is active"
        )
