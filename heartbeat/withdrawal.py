"""Whether a write that waits in the outbox may still be carried out, whatever was planned once (rules R3a, T5, B7)."""

from __future__ import annotations

from datetime import datetime

from heartbeat.action import Voice
from heartbeat.dispatch.claims import GIVE_BACK, is_claim
from heartbeat.memory import Memory
from heartbeat.observation import Observation
from heartbeat.policy import Recovery
from heartbeat.store.port import Entry, Store
from heartbeat.task import Ref


def may_be_written(entry: Entry, store: Store, now: datetime) -> bool:
    """What was taken is given back in any case. Claims belong to the round that starts turns, and nothing is written
    while a pause stands for whose work it is, also one that was declared since the write was planned."""
    if entry.key.startswith(GIVE_BACK):
        return True
    return not is_claim(entry) and Memory(pauses=store.pauses()).paused(_owner(entry), now) is None


def withdrawn(entry: Entry, observation: Observation, store: Store, now: datetime) -> str:
    """Why a write of the rules is not wanted any more; empty where it is, or is no write of theirs."""
    write = entry.payload.get("write", {})
    if write.get("voice") != Voice.RULE.value or entry.key.startswith(GIVE_BACK):
        return ""
    memory, charter = observation.judgement.memory, observation.roster.charter()
    policy = charter.policy_for(_owner(entry))
    if policy is None or policy.recovery is not Recovery.ACT or memory.observing:
        return "the roster does not let heartbeat act for it any more"
    hold = store.holds().get(Ref(*write.get("ref", ("", ""))))
    if hold is not None and now < hold.until:
        return f"held: {hold.why}"
    return ""


def _owner(entry: Entry) -> str:
    return str(entry.payload.get("owner", ["", ""])[1])
