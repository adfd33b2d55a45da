"""What one look means: what is wrong with whom, what is well, and of what nobody can tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.slots import next_slot
from heartbeat.watch.flips import BEATS, DISK, MEMORY, ROSTER, STORE, Alarms, Kind, Trouble, agent_key, awake
from heartbeat.watch.health import GOOD, GRACE, SLOW, Expected, Health, Status, first_due
from heartbeat.watch.notebook import Notebook, Seen
from heartbeat.watch.overall import no_room
from heartbeat.watch.records import Records

_CERTAIN = timedelta(minutes=1)
"""A slot counts for a silence of all when it has been waiting for so long: nobody beats in its first second."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Scene:
    """What one look saw. `roster_trouble` says why the roster is the last good one."""

    at: datetime
    roster: Roster
    roster_trouble: str
    records: Records
    healths: tuple[Health, ...]

    @property
    def grace(self) -> timedelta:
        return grace_of(self.roster)


def grace_of(roster: Roster) -> timedelta:
    """The roster's `watchdog.grace`."""
    grace = roster.extra.get("watchdog", {}).get("grace")
    return grace if isinstance(grace, timedelta) else GRACE


def expected(agent: Agent, roster: Roster, since: datetime) -> Expected:
    return Expected(agent.id, agent.policy, roster.timezone, grace_of(roster), since)


def judged(scene: Scene, seen: Mapping[str, Seen], book: Notebook) -> tuple[dict[str, Trouble], set[str], set[str]]:
    """What is wrong, what is well, and of what nobody can tell."""
    records, since = scene.records, book.alarms.noticed
    troubles: dict[str, Trouble] = {}
    well: set[str] = set()
    unknown: set[str] = set()

    def lasting(key: str, kind: Kind | None) -> None:
        if kind is None:
            well.add(key)
        else:
            troubles[key] = Trouble(kind, min(since.get(key, scene.at), scene.at))

    gone = book.beaten and book.state == str(records.state) and not records.exists and records.lost is None
    lasting(ROSTER, Kind.ROSTER if scene.roster_trouble else None)
    lasting(STORE, Kind.UNREADABLE if records.trouble else Kind.MISSING if gone else None)
    if records.disk is None:
        unknown.add(DISK)
    else:
        lasting(DISK, Kind.DISK if records.disk.read_only or no_room(records.disk) else None)
    if records.trouble or gone:
        return troubles, well, unknown | {BEATS, MEMORY, *map(agent_key, scene.roster.agents)}
    if replaced(records, book):
        troubles[MEMORY] = Trouble(Kind.REPLACED, records.memory or scene.at, scene.at)
    elif MEMORY not in book.alarms.standing or book.alarms.standing[MEMORY].kind is not Kind.REPLACED:
        # That another memory began is told once: there is no end of it to tell.
        lasting(MEMORY, None if records.lost is None else Kind.LOST)
    own = {found.agent: _agent_trouble(found, scene, seen[found.agent], book) for found in scene.healths}
    silence = _silence(scene, own)
    if silence is not None:
        troubles[BEATS] = silence

    def without_trouble(key: str, healths: Sequence[Health]) -> None:
        """What was told is over when a beat has come since. That the next one is late again is no matter: who beats
        each minute may be looked at in the second before each beat."""
        alarm = book.alarms.standing.get(key)
        fine = GOOD if alarm is None else GOOD | {Status.LATE}
        anew = alarm is None or alarm.mark != _newest(healths)
        (well if anew and any(each.status in fine for each in healths) else unknown).add(key)

    if silence is None:
        without_trouble(BEATS, scene.healths)
    for found in scene.healths:
        key, trouble = agent_key(found.agent), own[found.agent]
        if trouble is None or (silence is not None and trouble.kind is Kind.DOWN):
            without_trouble(key, [found])
        else:
            troubles[key] = trouble
    return troubles, well, unknown


def replaced(records: Records, book: Notebook) -> bool:
    """Whether the state has begun anew since the last look, without a loss on record: somebody removed all of it, or
    put another directory in its place."""
    if records.lost is not None or not book.beaten or book.state != str(records.state):
        return False
    return records.memory is not None and book.memory is not None and records.memory > book.memory


def _silence(scene: Scene, own: Mapping[str, Trouble | None]) -> Trouble | None:
    """That nobody beats any more: one trouble in the place of many that would show one after the other, each at its own
    slot. `own` is what is wrong with each agent; one that had been down before the others says nothing of all."""
    newest = max((each.last.started_at for each in scene.healths if each.last is not None), default=scene.at)
    waiting = [each for each in missing(scene) if waited_for(each) > newest]
    down = [trouble for each in waiting if (trouble := own[each.agent]) is not None and trouble.kind is Kind.DOWN]
    if not down or len(waiting) < 2:
        return None
    tell_at = min(each.tell_at or scene.at for each in down)
    return Trouble(Kind.SILENCE, min(map(waited_for, waiting)), tell_at, _newest(scene.healths))


def _newest(healths: Iterable[Health]) -> str:
    """The id of the receipt that was recorded last, in the future or not; empty where there is none."""
    newest = [receipt for each in healths if (receipt := each.ahead or each.last) is not None]
    return max(newest, key=lambda receipt: (receipt.started_at, receipt.id)).id if newest else ""


def missing(scene: Scene) -> list[Health]:
    """Whose slot has been waiting for a beat for certain, of those that ever beat."""
    return [each for each in scene.healths if each.last is not None and (each.missing or timedelta(0)) >= _CERTAIN]


def waited_for(found: Health) -> datetime:
    return found.unanswered or found.at


def _agent_trouble(found: Health, scene: Scene, seen: Seen, book: Notebook) -> Trouble | None:
    if found.status is Status.FAILING:
        return Trouble(Kind.FAILING, found.failing_since or scene.at, scene.at, _newest([found]))
    if found.status is not Status.DOWN:
        return None
    agent = scene.roster.agents[found.agent]
    tell_at = [found.expected_by or scene.at]
    if found.last is None or found.last.started_at < seen.since:
        # It has not beaten since it is watched, or since it is to beat like that.
        tell_at.append(first_due(expected(agent, scene.roster, seen.since), seen.since) + scene.grace)
    noticed = book.alarms.noticed.get(agent_key(found.agent), scene.at)
    since = min(awake(book.alarms, scene.at), noticed)
    if found.last is not None and found.last.started_at < since:
        # After a sleep some schedulers make up for what was missed, and others go on with the next slot.
        slot = next_slot(agent.policy, scene.roster.timezone, since)
        tell_at.append(min(slot, since + SLOW) + scene.grace)
    kind = Kind.NEVER if found.last is None else Kind.DOWN
    return Trouble(kind, found.unanswered or scene.at, max(tell_at), _newest([found]))


def unremembered(seen: Mapping[str, Seen], now: datetime) -> tuple[dict[str, Seen], Notebook]:
    """What to judge by where nothing can be remembered: as if it had been watched for ever."""
    always = {agent: replace(each, since=_LONG_AGO) for agent, each in seen.items()}
    return always, Notebook(alarms=Alarms({}, {}, now, _LONG_AGO))
