"""The outbox and the log in every store (rule L4, invariant I4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import StateError
from heartbeat.store.memory import MemoryStore
from heartbeat.store.opening import open_store
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, EntryState, LogEntry, Store
from heartbeat.store.sqlite import SqliteStore
from tests.support.child import child
from tests.support.receipts import DAY, ENTRY, LOG_ENTRY, MINUTE, NOW, entry

FINISHED = sorted(set(EntryState) - UNFINISHED)
ODD_TEXTS = ("", "任务 🫀", "a\x00b", "cut \ud83d emoji", "\ud83d\ude00 as two halves", "'; DROP TABLE outbox; --")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with MemoryStore() if request.param == "memory" else open_store(tmp_path / "state", NOW) as store:
        yield store


def test_an_entry_comes_back_as_it_went_in(store: Store) -> None:
    full = replace(
        ENTRY,
        key="full",
        state=EntryState.CONFLICT,
        attempts=3,
        due_at=NOW + DAY,
        claimed_at=NOW + MINUTE,
        finished_at=NOW + 2 * MINUTE,
        error="409",
        result="card moved meanwhile",
    )
    assert store.enqueue(iter([ENTRY, full])) == (ENTRY.key, "full")
    assert store.entries() == (ENTRY, full)
    assert store.entry("full") == full
    assert store.entry("no such") is None


def test_L4_a_key_that_is_known_stays_as_it_is(store: Store) -> None:
    first, second = entry(1), entry(2)
    assert store.enqueue([first]) == ("k-1",)
    store.claim_entry("k-1", NOW)
    claimed = store.entry("k-1")
    overtaken = replace(first, payload={"another": "text"}, task="another")
    assert store.enqueue([overtaken, second, replace(second, target="another")]) == ("k-2",)
    assert store.entries() == (claimed, second)
    store.settle_entry("k-1", EntryState.DONE, NOW)
    assert store.enqueue([overtaken]) == (), "what was done is not done again"
    assert store.enqueue([]) == ()


@pytest.mark.parametrize("payload", [{"a": float("nan")}, {"a": NOW}, {"a": object()}, {"a": b"bytes"}])
def test_what_json_cannot_hold_is_refused_and_nothing_is_kept(store: Store, payload: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        store.enqueue([ENTRY, entry(1, payload=payload)])
    with pytest.raises(ValueError):
        store.add_log([LOG_ENTRY, replace(LOG_ENTRY, details=payload)])
    assert (store.entries(), store.log()) == ((), ())


def test_what_was_given_may_change_afterwards(store: Store) -> None:
    payload = {"outputs": [{"path": "a.md"}]}
    store.enqueue([replace(ENTRY, payload=payload)])
    payload["outputs"].clear()
    assert store.entries()[0].payload == {"outputs": [{"path": "a.md"}]}


@pytest.mark.parametrize("odd", ODD_TEXTS)
def test_B8_foreign_text_is_kept_whatever_it_holds(store: Store, odd: str) -> None:
    given = Entry(odd, EntryKind.INBOX, odd, {odd: odd}, NOW, NOW, odd, odd)
    logged = LogEntry(NOW, odd, odd, odd, odd, odd, {odd: [odd]})
    assert store.enqueue([given]) == (odd,)
    store.add_log([logged])
    assert store.entry(odd) == given
    assert store.entries(target=odd) == (given,)
    assert store.claim_entry(odd, NOW) == given
    store.settle_entry(odd, EntryState.DEAD, NOW, error=odd, result=odd)
    settled = store.entry(odd)
    assert settled is not None
    assert (settled.error, settled.result) == (odd, odd)
    assert store.log(agent=odd, task=odd) == (replace(logged, sequence=1),)


def test_entries_come_earliest_first_and_as_asked_for(store: Store) -> None:
    write, later = entry(1), entry(4, due_at=NOW + DAY)
    message = entry(2, kind=EntryKind.MESSAGE, target="feishu")
    inbox = entry(3, kind=EntryKind.INBOX, target="coo", state=EntryState.DONE, finished_at=NOW)
    same = entry(3, key="recorded after its equal")
    store.enqueue([later, inbox, message, same, write])
    assert store.entries() == (write, message, inbox, same, later)
    assert store.entries(limit=2) == (write, message)
    assert store.entries(limit=0) == store.entries(limit=-1) == ()
    assert store.entries(limit=10**30) == store.entries()
    assert store.entries(kind=EntryKind.WRITE) == (write, same, later)
    assert store.entries(target="feishu") == (message,)
    assert store.entries(target="") == ()
    assert store.entries(states=frozenset({EntryState.DONE})) == (inbox,)
    assert store.entries(states=UNFINISHED) == (write, message, same, later)
    assert store.entries(states=frozenset(EntryState)) == store.entries()
    assert store.entries(states=frozenset()) == ()
    assert store.entries(due_by=NOW + 3 * MINUTE) == (write, message, inbox, same), "due at the instant is due"
    assert store.entries(due_by=NOW + MINUTE - timedelta(microseconds=1)) == ()
    assert store.entries(
        kind=EntryKind.WRITE, states=UNFINISHED, target="workboard", due_by=NOW + 4 * MINUTE, limit=1
    ) == (write,)


def test_L4_entries_of_one_incident_are_asked_for_by_its_id(store: Store) -> None:
    first, second, other, none = (
        entry(1, incident="a"),
        entry(2, incident="a", kind=EntryKind.MESSAGE, state=EntryState.DONE, finished_at=NOW),
        entry(3, incident="b\ud83d"),
        entry(4, incident=""),
    )
    store.enqueue([none, other, second, first])
    assert store.entries(incident="a") == (first, second)
    assert store.entries(incident="a", states=UNFINISHED) == (first,)
    assert store.entries(incident="a", kind=EntryKind.MESSAGE) == (second,)
    assert store.entries(incident="a", limit=1) == (first,)
    assert store.entries(incident="b\ud83d") == (other,)
    assert store.entries(incident="") == (none,), "those of no incident"
    assert store.entries(incident="A") == ()
    assert store.entries(incident=None) == store.entries()


def test_the_file_finds_the_entries_of_an_incident_without_reading_all(tmp_path: Path) -> None:
    with open_store(tmp_path, NOW) as store:
        assert isinstance(store, SqliteStore)
        steps = store._execute(
            "EXPLAIN QUERY PLAN SELECT key FROM outbox WHERE incident = ? ORDER BY created_at, sequence", ("a",)
        )
    assert [step[-1] for step in steps] == ["SEARCH outbox USING INDEX outbox_by_incident (incident=?)"]


def test_I4_an_attempt_is_on_record_before_it_is_made(store: Store) -> None:
    store.enqueue([ENTRY])
    assert store.claim_entry(ENTRY.key, NOW + MINUTE) == ENTRY, "as it was before"
    claimed = replace(ENTRY, state=EntryState.CLAIMED, attempts=1, claimed_at=NOW + MINUTE)
    assert store.entry(ENTRY.key) == claimed
    assert store.claim_entry(ENTRY.key, NOW + 2 * MINUTE) == claimed, "who finds it claimed must look for the marker"
    again = replace(claimed, attempts=2, claimed_at=NOW + 2 * MINUTE)
    assert store.entry(ENTRY.key) == again


@pytest.mark.parametrize("state", FINISHED)
def test_I4_what_is_finished_or_gone_is_not_claimed(store: Store, state: EntryState) -> None:
    store.enqueue([ENTRY])
    store.settle_entry(ENTRY.key, state, NOW)
    assert store.claim_entry(ENTRY.key, NOW) is None
    assert store.claim_entry("no such", NOW) is None
    assert store.entry(ENTRY.key) == replace(ENTRY, state=state, finished_at=NOW)


@pytest.mark.parametrize("state", FINISHED)
def test_an_attempt_ends_with_what_came_of_it(store: Store, state: EntryState) -> None:
    store.enqueue([ENTRY, entry(1)])
    store.claim_entry(ENTRY.key, NOW)
    store.settle_entry(ENTRY.key, state, NOW + MINUTE, error="503", result="comment 7")
    ended = replace(
        ENTRY,
        state=state,
        attempts=1,
        claimed_at=NOW,
        finished_at=NOW + MINUTE,
        error="503",
        result="comment 7",
    )
    assert store.entries() == (ended, entry(1))


def test_an_attempt_may_be_made_again_later_and_by_a_persons_word_even_after_the_end(store: Store) -> None:
    store.enqueue([ENTRY])
    store.claim_entry(ENTRY.key, NOW)
    store.settle_entry(ENTRY.key, EntryState.PENDING, NOW + MINUTE, error="503", due_at=NOW + DAY)
    waiting = replace(ENTRY, attempts=1, error="503", due_at=NOW + DAY)
    assert store.entry(ENTRY.key) == waiting
    store.settle_entry(ENTRY.key, EntryState.DEAD, NOW + DAY, error="410")
    store.settle_entry(ENTRY.key, EntryState.PENDING, NOW + 2 * DAY)
    assert store.claim_entry(ENTRY.key, NOW + 2 * DAY) == replace(waiting, error=""), "due when it was, without due_at"


def test_only_what_exists_can_be_settled_and_never_as_claimed(store: Store) -> None:
    store.enqueue([ENTRY])
    with pytest.raises(KeyError, match="no such"):
        store.settle_entry("no such", EntryState.DONE, NOW)
    with pytest.raises(ValueError, match="claimed"):
        store.settle_entry(ENTRY.key, EntryState.CLAIMED, NOW)
    assert store.entries() == (ENTRY,)


def test_a_refused_settlement_inside_a_beat_leaves_the_rest_standing(store: Store) -> None:
    with store.transaction():
        store.enqueue([ENTRY])
        with pytest.raises(KeyError):
            store.settle_entry("no such", EntryState.DONE, NOW)
        assert store.claim_entry(ENTRY.key, NOW) == ENTRY
    found = store.entry(ENTRY.key)
    assert found is not None
    assert found.state is EntryState.CLAIMED


def test_times_of_any_zone_come_back_in_utc(store: Store) -> None:
    there = NOW.astimezone(timezone(timedelta(hours=8)))
    store.enqueue([entry(0, created_at=there, due_at=there, claimed_at=there, finished_at=there)])
    store.enqueue([entry(1)])
    store.claim_entry("k-1", there)
    store.settle_entry("k-1", EntryState.DONE, there, due_at=there)
    store.add_log([replace(LOG_ENTRY, at=there)])
    times = [store.log()[0].at]
    for each in store.entries():
        times += [time for time in (each.due_at, each.claimed_at, each.finished_at) if time is not None]
    assert len(times) == 7
    assert {time.isoformat() for time in times} == {NOW.isoformat()}


def test_the_log_is_numbered_as_it_grows_and_read_from_any_number(store: Store) -> None:
    store.add_log([replace(LOG_ENTRY, sequence=99), replace(LOG_ENTRY, agent="dev")])
    store.add_log(iter([replace(LOG_ENTRY, at=NOW - DAY), replace(LOG_ENTRY, task="todo:x")]))
    store.add_log([])
    one, two, three, four = store.log()
    assert [each.sequence for each in (one, two, three, four)] == [1, 2, 3, 4], "by number, whatever the clock says"
    assert one == replace(LOG_ENTRY, sequence=1)
    assert store.log(after=2) == (three, four)
    assert store.log(after=4) == store.log(after=10**30) == ()
    assert store.log(after=-5) == (one, two, three, four)
    assert store.log(limit=2) == (three, four), "the newest, oldest first"
    assert store.log(limit=0) == store.log(limit=-1) == ()
    assert store.log(limit=10**30) == store.log()
    assert store.log(agent="coo") == (one, three, four)
    assert store.log(agent="coo", limit=2) == (three, four)
    assert store.log(task="todo:x") == (four,)
    assert store.log(agent="dev", task="todo:x") == ()
    assert store.log(agent="coo", task=LOG_ENTRY.task, after=1, limit=1) == (three,)


def test_a_number_that_retention_freed_is_never_given_again(store: Store) -> None:
    store.add_log([LOG_ENTRY, LOG_ENTRY])
    assert store.forget_before(NOW + MINUTE) == 2
    store.add_log([LOG_ENTRY])
    assert [each.sequence for each in store.log(after=2)] == [3], "who follows the log misses nothing"


def test_I4_a_claim_waits_for_whoever_is_claiming(tmp_path: Path) -> None:
    """Found pending before the other's claim is kept, an entry would be carried out twice."""
    with open_store(tmp_path, NOW) as mine, open_store(tmp_path, NOW, busy_timeout=0.02) as other:
        mine.enqueue([ENTRY])
        with mine.transaction():
            assert mine.claim_entry(ENTRY.key, NOW) == ENTRY
            with pytest.raises(StateError, match="locked by another process"):
                other.claim_entry(ENTRY.key, NOW)
            with pytest.raises(StateError, match="locked by another process"):
                other.enqueue([ENTRY])
        found = other.claim_entry(ENTRY.key, NOW)
        assert found is not None
        assert found.state is EntryState.CLAIMED
        assert other.enqueue([ENTRY]) == ()


def test_I4_nobody_claims_between_anothers_look_and_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path, NOW, busy_timeout=0.02) as mine, open_store(tmp_path, NOW) as other:
        mine.enqueue([ENTRY])
        look = other.entry
        found = []

        def look_and_be_slow(key: str) -> Entry | None:
            seen = look(key)
            with suppress(StateError):
                found.append(mine.claim_entry(key, NOW))
            return seen

        monkeypatch.setattr(other, "entry", look_and_be_slow)
        found += [other.claim_entry(ENTRY.key, NOW), mine.claim_entry(ENTRY.key, NOW)]
        assert [each.state for each in found if each] == [EntryState.PENDING, EntryState.CLAIMED]


_CLAIM = """
import sys
from pathlib import Path
from heartbeat.store.opening import open_store
from tests.support.receipts import NOW
with open_store(Path(sys.argv[1]), NOW, busy_timeout=30) as store:
    keys = [entry.key for entry in store.entries()]
    print("ready")
    input()
    print(*(store.claim_entry(key, NOW).state for key in keys))
"""


def test_I4_of_two_processes_that_claim_an_entry_exactly_one_gets_it_pending(tmp_path: Path) -> None:
    with open_store(tmp_path, NOW) as store:
        store.enqueue([entry(number) for number in range(30)])
    with child(_CLAIM, tmp_path) as one, child(_CLAIM, tmp_path) as two:
        for each in (one, two):
            assert each.line() == "ready"
        for each in (one, two):
            each.go_on()
        found = [each.line().split() for each in (one, two)]
    assert [sorted(pair) for pair in zip(*found, strict=True)] == [["claimed", "pending"]] * 30
    with open_store(tmp_path, NOW) as store:
        assert {each.attempts for each in store.entries()} == {2}


_ENQUEUE = """
import sys
from pathlib import Path
from heartbeat.store.opening import open_store
from tests.support.receipts import NOW, entry
with open_store(Path(sys.argv[1]), NOW, busy_timeout=30) as store:
    print("ready")
    input()
    print(*(key for number in range(20) for key in store.enqueue([entry(number, task=sys.argv[2])])))
"""


def test_L4_of_two_processes_that_enqueue_an_entry_exactly_one_keeps_it(tmp_path: Path) -> None:
    open_store(tmp_path, NOW).close()
    with child(_ENQUEUE, tmp_path, "one") as one, child(_ENQUEUE, tmp_path, "two") as two:
        for each in (one, two):
            assert each.line() == "ready"
        for each in (one, two):
            each.go_on()
        kept = {each: frozenset(process.line().split()) for each, process in (("one", one), ("two", two))}
    assert kept["one"] | kept["two"] == {f"k-{number}" for number in range(20)}
    assert not kept["one"] & kept["two"]
    with open_store(tmp_path, NOW) as store:
        assert all(each.key in kept[each.task] for each in store.entries())


@pytest.mark.parametrize(
    "damaging",
    [
        lambda store: store.put_clocks([None]),
        lambda store: store.enqueue([ENTRY, None]),
        lambda store: store.put_rounds([None]),
    ],
)
def test_a_bug_of_the_caller_inside_a_beat_keeps_nothing(store: Store, damaging: Callable[[Store], Any]) -> None:
    with ExitStack() as stack:
        stack.enter_context(pytest.raises((AttributeError, TypeError)))
        stack.enter_context(store.transaction())
        store.add_log([LOG_ENTRY])
        damaging(store)
    assert store.log() == ()
    assert store.entries() == ()
