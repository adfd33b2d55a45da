"""What every store does: one suite over the SQLite file and its twin in memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from heartbeat.errors import StateError
from heartbeat.store.memory import MemoryStore
from heartbeat.store.opening import open_store, open_store_read_only
from heartbeat.store.port import Belonging, Link, Receipt, Store, Tombstone
from heartbeat.task import Ref
from tests.support.receipts import CARD, DAY, ISSUE, LINE, MINUTE, NOW, RECEIPT, receipt

ODD_TEXTS = ("", "任务 🫀", "a\x00b", "cut \ud83d emoji", "\ud83d\ude00 as two halves", "'; DROP TABLE receipts; --")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with MemoryStore() if request.param == "memory" else open_store(tmp_path / "state", NOW) as store:
        yield store


@pytest.fixture(params=["memory", "sqlite", "sqlite without a file"])
def locked_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that was opened for looking."""
    if request.param == "memory":
        yield MemoryStore(read_only=True)
        return
    if request.param == "sqlite":
        open_store(tmp_path / "state", NOW).close()
    with open_store_read_only(tmp_path / "state") as store:
        yield store


@pytest.fixture(params=["memory", "sqlite"])
def bereft_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store with a tombstone."""
    if request.param == "memory":
        yield MemoryStore(tombstone=Tombstone(NOW, "state.db vanished"))
        return
    open_store(tmp_path / "state", NOW).close()
    (tmp_path / "state" / "state.db").unlink()
    with open_store(tmp_path / "state", NOW) as store:
        yield store


def test_an_empty_store_knows_nothing_and_mourns_nothing(store: Store) -> None:
    assert store.receipts() == ()
    assert store.last_receipt("coo") is None
    assert store.last_receipts() == {}
    assert store.links() == ()
    assert store.first_seen([CARD]) == {}
    assert store.last_complete("workboard") is None
    assert store.tombstone() is None
    assert not store.read_only


def test_a_receipt_comes_back_as_it_went_in(store: Store) -> None:
    store.add_receipt(RECEIPT)
    assert store.receipts() == (RECEIPT,)
    assert store.last_receipt("coo") == RECEIPT
    assert store.receipts()[0].started_at.tzinfo is UTC


@pytest.mark.parametrize("odd", ODD_TEXTS)
def test_B8_foreign_text_is_kept_whatever_it_holds(store: Store, odd: str) -> None:
    ref = Ref("todo", odd)
    store.add_receipt(replace(RECEIPT, agent=odd, host=odd, rejected=({"raw": odd},), reasons=(odd,)))
    store.remember_links([Link(ref, CARD, odd, NOW)])
    store.note_sightings([ref], NOW)
    store.note_complete(odd, odd, NOW)
    kept = store.last_receipt(odd)
    assert kept is not None
    assert (kept.agent, kept.host, kept.rejected, kept.reasons) == (odd, odd, ({"raw": odd},), (odd,))
    assert store.links() == (Link(CARD, ref, odd, NOW),)
    assert store.first_seen([ref]) == {ref: NOW}
    assert store.last_complete(odd) == NOW


def test_json_inside_a_receipt_comes_back_as_plain_lists_and_objects(store: Store) -> None:
    given = replace(RECEIPT, sources=(MappingProxyType({"tried": ("gateway", "cli"), "n": {1: None}}),))
    store.add_receipt(given)
    assert store.receipts()[0].sources == ({"tried": ["gateway", "cli"], "n": {"1": None}},)


@pytest.mark.parametrize("value", [float("nan"), NOW, object(), {"set"}, b"bytes"])
def test_what_json_cannot_hold_is_refused_and_nothing_is_kept(store: Store, value: object) -> None:
    with pytest.raises(ValueError):
        store.add_receipt(replace(RECEIPT, rejected=({"raw": value},)))
    assert store.receipts() == ()


def test_a_receipt_is_recorded_once(store: Store) -> None:
    store.add_receipt(RECEIPT)
    with pytest.raises(ValueError, match="r-1"):
        store.add_receipt(replace(RECEIPT, agent="other"))
    assert store.receipts() == (RECEIPT,)


def test_receipts_come_newest_first_by_agent_since_and_up_to_a_limit(store: Store) -> None:
    series = [receipt(number, "coo" if number % 2 else "dev") for number in range(10)]
    for one in series:
        store.add_receipt(one)
    newest = tuple(reversed(series))
    assert store.receipts() == newest
    assert store.receipts(limit=3) == newest[:3]
    assert store.receipts("coo") == newest[::2]
    assert store.receipts("coo", 2) == newest[:4:2]
    assert store.receipts(since=NOW + 7 * MINUTE) == newest[:3], "exactly at the instant counts"
    assert store.receipts("dev", 50, NOW + 7 * MINUTE) == (series[8],)
    assert store.receipts("nobody") == ()
    assert store.receipts(limit=0) == ()
    assert store.receipts(limit=-1) == ()
    assert store.receipts(limit=10**30) == newest


def test_B2_a_clock_that_once_ran_ahead_cannot_keep_its_receipt_on_top(store: Store) -> None:
    store.add_receipt(receipt(1))
    ahead = replace(receipt(2), started_at=NOW + 4000 * DAY, ended_at=NOW + 4000 * DAY)
    store.add_receipt(ahead)
    store.add_receipt(receipt(3))
    assert store.last_receipt("coo") == receipt(3)
    assert [one.id for one in store.receipts()] == ["r-3", "r-2", "r-1"]


def test_the_last_receipt_of_each_agent_comes_in_one_call(store: Store) -> None:
    for number in range(9):
        store.add_receipt(receipt(number, ("coo", "dev", "secretary")[number % 3]))
    assert store.last_receipts() == {
        "coo": receipt(6, "coo"),
        "dev": receipt(7, "dev"),
        "secretary": receipt(8, "secretary"),
    }


def test_B2_the_last_beat_of_each_agent_is_none_that_was_interrupted(store: Store) -> None:
    broken_off = {"outcome": "interrupted", "reasons": ("ended by SIGTERM",)}
    for number in range(3):
        store.add_receipt(receipt(number, "coo"))
    for number in range(3, 30):
        store.add_receipt(receipt(number, "coo", **broken_off))
        store.add_receipt(receipt(100 + number, "secretary", **broken_off))
    store.add_receipt(receipt(50, "dev"))
    assert store.last_beats() == {"coo": receipt(2, "coo"), "dev": receipt(50, "dev")}
    assert store.last_receipts()["coo"].id == "r-29"


def test_B6_whether_a_beat_began_within_a_time_is_told_with_both_ends(store: Store) -> None:
    assert not store.began_between(NOW - DAY, NOW + DAY)
    store.add_receipt(receipt(5))
    at = NOW + 5 * MINUTE
    assert store.began_between(at, at)
    assert store.began_between((at - MINUTE).astimezone(timezone(timedelta(hours=8))), at + MINUTE)
    assert not store.began_between(at + timedelta(microseconds=1), at + DAY)
    assert not store.began_between(at - DAY, at - timedelta(microseconds=1))


def test_B2_whether_a_beat_was_the_first_and_by_which_rhythm_it_came_is_kept(store: Store) -> None:
    given = replace(RECEIPT, first=True, rhythm="cron Asia/Shanghai */10 * * * * 队\x00\ud83d")
    store.add_receipt(given)
    assert store.last_receipt("coo") == given
    assert given.late is None


def test_whose_state_it_is_is_kept_once(store: Store) -> None:
    assert store.belonging() is None
    store.note_belonging(Belonging("/a/agents.yaml", ("coo",), NOW))
    later = Belonging("/b 队/agents.yaml", ("coo", "dev"), NOW.astimezone(timezone(timedelta(hours=8))))
    store.note_belonging(later)
    assert store.belonging() == replace(later, since=NOW)
    with pytest.raises(ValueError):
        store.note_belonging(replace(later, since=NOW.replace(tzinfo=None)))


def test_M4_links_are_undirected_unique_and_keep_their_first_story(store: Store) -> None:
    store.remember_links([Link(CARD, ISSUE, "sourceUrl", NOW)])
    store.remember_links([Link(ISSUE, CARD, "title", NOW + DAY), Link(LINE, CARD, "title", NOW + DAY)])
    assert store.links() == (
        Link(ISSUE, CARD, "sourceUrl", NOW),
        Link(CARD, LINE, "title", NOW + DAY),
    )


def test_a_link_has_two_ends() -> None:
    with pytest.raises(ValueError, match="itself"):
        Link(CARD, CARD, "title", NOW)


def test_T9_the_first_sight_of_a_ref_starts_its_clock_once(store: Store) -> None:
    store.note_sightings([LINE, CARD], NOW)
    store.note_sightings([LINE, ISSUE], NOW + MINUTE)
    store.note_sightings([LINE], NOW + 3 * DAY)
    store.note_sightings([CARD], NOW - 3 * DAY)
    assert store.first_seen([LINE, CARD, ISSUE, Ref("todo", "never")]) == {
        LINE: NOW,
        CARD: NOW,
        ISSUE: NOW + MINUTE,
    }
    assert store.first_seen([]) == {}
    assert store.first_seen([Ref("workboard", LINE.id)]) == {}, "an id is one source's own"


def test_a_ref_that_is_still_there_outlives_retention_by_the_day(store: Store) -> None:
    store.note_sightings([CARD, ISSUE, LINE], NOW)
    store.note_sightings([ISSUE], NOW + DAY - MINUTE)
    store.note_sightings([LINE, LINE], NOW + DAY)
    assert store.forget_before(NOW) == 0, "exactly at the instant stays"
    assert store.forget_before(NOW + MINUTE) == 2, "less than a day later is not written again"
    assert store.first_seen([CARD, ISSUE, LINE]) == {LINE: NOW}


def test_retention_leaves_each_agent_its_newest_receipt_and_everything_lasting(store: Store) -> None:
    for number in range(6):
        store.add_receipt(receipt(number, ("coo", "dev")[number % 2]))
    store.add_receipt(receipt(-5, "gone"))
    store.remember_links([Link(CARD, ISSUE, "title", NOW - 900 * DAY)])
    store.note_complete("workboard", "w", NOW - 900 * DAY)
    assert store.forget_before(NOW + 5 * MINUTE) == 4
    assert {one.id for one in store.receipts()} == {"r-5", "r-4", "r--5"}
    assert len(store.links()) == 1
    assert store.last_complete("workboard") == NOW - 900 * DAY


def test_I6_retention_leaves_each_agent_the_newest_receipt_that_answers_a_slot(store: Store) -> None:
    """Or that slot could be answered again: by an agent that beats once a week, and was beaten by hand since."""
    for number, slot in enumerate((NOW, NOW + MINUTE, None, None)):
        store.add_receipt(replace(receipt(number), slot=slot))
    store.add_receipt(replace(receipt(4, "dev"), slot=NOW))
    store.add_receipt(receipt(5, "new"))
    assert store.forget_before(NOW + DAY) == 2
    assert [(one.id, one.slot) for one in store.receipts()] == [
        ("r-5", None),
        ("r-4", NOW),
        ("r-3", None),
        ("r-1", NOW + MINUTE),
    ]
    assert store.slot_taken("coo", NOW + MINUTE)


def test_I6_retention_leaves_each_agent_the_receipt_of_its_latest_slot(store: Store) -> None:
    """A clock that ran a day ahead answered it; whatever was recorded since was begun by a clock that is right."""
    for number, slot in enumerate((NOW + 2 * DAY, NOW, NOW + MINUTE, None)):
        store.add_receipt(replace(receipt(number), slot=slot))
    assert store.forget_before(NOW + DAY) == 1
    assert store.slot_taken("coo", NOW + 2 * DAY)
    assert not store.slot_taken("coo", NOW)


def test_S1a_a_complete_read_is_remembered_under_any_identity(store: Store) -> None:
    store.note_complete("multica", "https://a", NOW)
    store.note_complete("multica", "https://b", NOW + MINUTE)
    store.note_complete("workboard", "w", NOW + DAY)
    assert store.last_complete("multica") == NOW + MINUTE
    store.note_complete("multica", "https://a", NOW + DAY)
    assert store.last_complete("multica") == NOW + DAY
    assert store.last_complete("todo") is None


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.add_receipt(replace(RECEIPT, started_at=datetime(2026, 11, 21))),  # noqa: DTZ001
        lambda store: store.add_receipt(replace(RECEIPT, slot=datetime(2026, 11, 21))),  # noqa: DTZ001
        lambda store: store.remember_links([Link(CARD, ISSUE, "title", datetime(2026, 11, 21))]),  # noqa: DTZ001
        lambda store: store.note_sightings([CARD], datetime(2026, 11, 21)),  # noqa: DTZ001
        lambda store: store.note_complete("todo", "t", datetime(2026, 11, 21)),  # noqa: DTZ001
        lambda store: store.forget_before(datetime(2026, 11, 21)),  # noqa: DTZ001
        lambda store: store.accept_tombstone("me", datetime(2026, 11, 21)),  # noqa: DTZ001
        lambda store: store.receipts(since=datetime(2026, 11, 21)),  # noqa: DTZ001
    ],
)
def test_S8_a_time_without_a_zone_is_refused(store: Store, write: Callable[[Store], Any]) -> None:
    with pytest.raises(ValueError, match="time zone"):
        write(store)
    assert (store.receipts(), store.links(), store.last_complete("todo")) == ((), (), None)


def test_S8_times_of_any_zone_come_back_in_utc(store: Store) -> None:
    shanghai = NOW.astimezone(timezone(timedelta(hours=8)))
    store.note_sightings([LINE], shanghai)
    store.note_complete("todo", "t", shanghai)
    for instant in (store.first_seen([LINE])[LINE], store.last_complete("todo")):
        assert instant is not None
        assert instant.isoformat() == NOW.isoformat()


def _one_beat(store: Store) -> None:
    store.add_receipt(RECEIPT)
    store.remember_links([Link(CARD, ISSUE, "title", NOW)])
    store.note_sightings([LINE], NOW)
    store.note_complete("todo", "t", NOW)


def test_a_beat_is_kept_as_a_whole(store: Store) -> None:
    with store.transaction():
        _one_beat(store)
        assert store.last_receipt("coo") == RECEIPT, "a transaction sees its own writes"
    assert store.last_receipt("coo") == RECEIPT
    assert len(store.links()) == 1
    assert LINE in store.first_seen([LINE])
    assert store.last_complete("todo") == NOW


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
def test_a_beat_that_breaks_off_is_not_kept_at_all(store: Store, error: BaseException) -> None:
    store.note_sightings([CARD], NOW)

    def beat() -> None:
        with store.transaction():
            _one_beat(store)
            raise error

    with pytest.raises(type(error)):
        beat()
    assert store.receipts() == ()
    assert store.links() == ()
    assert store.first_seen([LINE, CARD]) == {CARD: NOW}
    assert store.last_complete("todo") is None
    _one_beat(store)
    assert store.receipts() == (RECEIPT,), "the store goes on working"


def test_a_refused_write_inside_a_beat_leaves_the_rest_standing(store: Store) -> None:
    with store.transaction():
        store.add_receipt(RECEIPT)
        with pytest.raises(ValueError):
            store.add_receipt(RECEIPT)
        store.note_sightings([LINE], NOW)
    assert store.receipts() == (RECEIPT,)
    assert store.first_seen([LINE]) == {LINE: NOW}


def test_transactions_do_not_nest(store: Store) -> None:
    with store.transaction():
        store.add_receipt(RECEIPT)
        with pytest.raises(RuntimeError), store.transaction():
            pass
    assert store.receipts() == (RECEIPT,)


def test_B7_a_tombstone_stands_until_an_operator_accepts_it(bereft_store: Store) -> None:
    standing = bereft_store.tombstone()
    assert standing is not None
    assert standing.at == NOW
    assert "vanished" in standing.reason
    assert bereft_store.accept_tombstone("lin", NOW + MINUTE) == standing
    assert bereft_store.tombstone() is None
    assert bereft_store.accept_tombstone("lin", NOW + MINUTE) is None


def test_B7_accepting_can_be_undone_by_a_beat_that_breaks_off(bereft_store: Store) -> None:
    def beat() -> None:
        with bereft_store.transaction():
            bereft_store.accept_tombstone("lin", NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        beat()
    assert bereft_store.tombstone() is not None


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.add_receipt(RECEIPT),
        lambda store: store.remember_links([]),
        lambda store: store.note_sightings([CARD], NOW),
        lambda store: store.note_complete("todo", "t", NOW),
        lambda store: store.accept_tombstone("lin", NOW),
        lambda store: store.forget_before(NOW),
        lambda store: store.transaction().__enter__(),
    ],
    ids=["receipt", "links", "sightings", "complete", "tombstone", "forget", "transaction"],
)
def test_B3_a_store_for_looking_refuses_every_write(locked_store: Store, write: Callable[[Store], Any]) -> None:
    assert locked_store.read_only
    with pytest.raises(StateError, match="for reading only") as refused:
        write(locked_store)
    assert refused.value.advice
    assert locked_store.receipts() == ()


_agents = st.sampled_from(["coo", "dev", "x\ud83dy"])
_ids = st.sampled_from(["a", "b", "c", "\x00", "é", "\udcff", "中"])
_refs = st.builds(Ref, st.sampled_from(["workboard", "todo", "\udcff"]), _ids)
_instants = st.integers(-5000, 5000).map(lambda minutes: NOW + minutes * MINUTE)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
_receipts = st.builds(
    Receipt,
    id=st.integers(0, 12).map(str),
    agent=_agents,
    slot=st.none() | _instants,
    started_at=_instants,
    ended_at=_instants,
    outcome=st.sampled_from(["done", "degraded", "failed", "skipped"]),
    degraded=st.booleans(),
    sources=st.lists(st.dictionaries(st.text(max_size=3), _json, max_size=2), max_size=1).map(tuple),
    buckets=st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    pid=st.integers(0, 2**22),
)
_links = st.builds(
    lambda pair, via, at: Link(pair[0], pair[1], via, at),
    st.tuples(_refs, _refs).filter(lambda pair: pair[0] != pair[1]),
    st.sampled_from(["title", "url\ud83d"]),
    _instants,
)


class Twins(RuleBasedStateMachine):
    """Whatever is done to both stores, in whatever order, they give the same answers."""

    @initialize()
    def open(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.sqlite: Store = open_store(Path(self.directory.name), NOW)
        self.memory: Store = MemoryStore()

    def teardown(self) -> None:
        if hasattr(self, "sqlite"):
            self.sqlite.close()
            self.directory.cleanup()

    def both(self, do: Callable[[Store], Any]) -> Any:
        answers = []
        for store in (self.sqlite, self.memory):
            try:
                answers.append(do(store))
            except (ValueError, RuntimeError) as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1]
        return answers[0]

    @rule(receipt=_receipts)
    def record(self, receipt: Receipt) -> None:
        self.both(lambda store: store.add_receipt(receipt))

    @rule(links=st.lists(_links, max_size=3))
    def link(self, links: list[Link]) -> None:
        self.both(lambda store: store.remember_links(links))

    @rule(refs=st.lists(_refs, max_size=4), at=_instants)
    def see(self, refs: list[Ref], at: datetime) -> None:
        self.both(lambda store: store.note_sightings(refs, at))

    @rule(source=_agents, identity=_ids, at=_instants)
    def complete(self, source: str, identity: str, at: datetime) -> None:
        self.both(lambda store: store.note_complete(source, identity, at))
        self.both(lambda store: store.last_complete(source))

    @rule(agent=st.none() | _agents, limit=st.integers(-1, 4), since=st.none() | _instants)
    def ask(self, agent: str | None, limit: int, since: datetime | None) -> None:
        self.both(lambda store: store.receipts(agent, limit, since))

    @rule(agent=_agents, slot=_instants, number=st.integers(0, 9))
    def ask_of_slots(self, agent: str, slot: datetime, number: int) -> None:
        known = [receipt.slot for receipt in self.memory.receipts(agent, 100) if receipt.slot is not None]
        asked = known[number] if number < len(known) else slot
        self.both(lambda store: store.last_slot(agent, slot))
        assert self.both(lambda store: store.slot_taken(agent, asked)) == (asked in known)

    @rule(instant=_instants)
    def forget(self, instant: datetime) -> None:
        self.both(lambda store: store.forget_before(instant))

    @rule(receipt=_receipts, refs=st.lists(_refs, max_size=3), at=_instants, fails=st.booleans())
    def beat(self, receipt: Receipt, refs: list[Ref], at: datetime, fails: bool) -> None:
        def one(store: Store) -> None:
            with store.transaction():
                store.note_sightings(refs, at)
                store.add_receipt(receipt)
                if fails:
                    raise RuntimeError

        self.both(one)

    @rule()
    def reopen(self) -> None:
        self.sqlite.close()
        self.sqlite = open_store(Path(self.directory.name), NOW)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "sqlite"):
            return
        everything = [Ref(source, id_) for source in ("workboard", "todo", "\udcff") for id_ in ("a", "\x00", "中")]
        self.both(lambda store: store.receipts(limit=100))
        self.both(lambda store: store.last_receipts())
        self.both(lambda store: store.last_receipt("coo"))
        self.both(lambda store: store.links())
        self.both(lambda store: store.first_seen(everything))
        self.both(lambda store: store.tombstone())


class TwinsForLong(Twins):
    """The same with more examples."""


Twins.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TwinsForLong.TestCase.settings = settings(
    max_examples=200, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
test_the_twins_agree = Twins.TestCase
test_the_twins_agree_for_long = pytest.mark.slow(TwinsForLong.TestCase)


def test_the_port_and_its_twin_in_memory_load_without_sqlite() -> None:
    program = (
        "import json, sys\n"
        "import heartbeat.store, heartbeat.store.port, heartbeat.store.memory, heartbeat.store.locks\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    modules = json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    assert "heartbeat.store.memory" in modules
    assert "sqlite3" not in modules
