"""The shared snapshot: who reads, what is served, and what an outage shows (rules S1a, S2, S5)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from heartbeat.store.locks import exclusive
from heartbeat.systems.base import Deadline, FailureKind, Reading, ReadStatus, Rejected
from heartbeat.systems.snapshot import AHEAD, SnapshotCache
from heartbeat.task import Evidence, EvidenceKind, Finding
from tests.support.scripted_source import NOW, ScriptedSource, complete, disabled, failed, item, partial

TTL = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
A, B, C = item("a"), item("b", "任务 \ud83d"), item("c", created_at=NOW)
FULL = complete(
    A,
    B,
    evidence=(Evidence(A.ref, NOW, EvidenceKind.MOVED, "e1"),),
    rejected=(Rejected("workboard", "x", "no title", "{…}"),),
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "snapshots"


@pytest.fixture
def cache(directory: Path) -> SnapshotCache:
    return SnapshotCache(directory)


def ask(
    cache: SnapshotCache,
    source: ScriptedSource,
    now: datetime = NOW,
    *,
    fresh: bool = False,
    last_complete: datetime | None = None,
    patience: float = 30.0,
) -> Reading:
    return cache.read(
        source, deadline=Deadline.after(patience), now=now, ttl=TTL, fresh=fresh, last_complete=last_complete
    )


def files(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.glob("**/*")}


def codes(reading: Reading) -> list[str]:
    return [finding.code for finding in reading.report.findings]


def test_S5_one_read_serves_every_beat_until_it_is_too_old(cache: SnapshotCache, directory: Path) -> None:
    source = ScriptedSource(FULL, complete(C))
    first = ask(cache, source)
    assert first == replace(FULL, report=replace(FULL.report, read_at=NOW))
    assert ask(SnapshotCache(directory), source, NOW + TTL - SECOND) == first
    assert source.reads == [NOW]
    assert ask(cache, source, NOW + TTL).items == (C,), "exactly as old as the limit is too old"
    assert source.reads == [NOW, NOW + TTL]


def test_S5_the_age_of_what_is_served_is_known(cache: SnapshotCache) -> None:
    source = ScriptedSource(FULL)
    ask(cache, source)
    assert ask(cache, source, NOW + 4 * MINUTE).report.read_at == NOW


def test_S5_fresh_asks_the_source_and_serves_the_others(cache: SnapshotCache) -> None:
    source = ScriptedSource(complete(A), complete(B))
    ask(cache, source)
    assert ask(cache, source, NOW + MINUTE, fresh=True).items == (B,)
    assert ask(cache, source, NOW + 2 * MINUTE).items == (B,)
    assert len(source.reads) == 2


def test_S5_fresh_waits_for_nobody_and_leaves_the_snapshot_to_whoever_reads(
    cache: SnapshotCache, directory: Path
) -> None:
    source = ScriptedSource(complete(A), complete(B))
    ask(cache, source)
    with exclusive(directory / "workboard.lock"):
        assert ask(cache, source, NOW + MINUTE, fresh=True, patience=0).items == (B,)
    assert ask(cache, source, NOW + MINUTE).items == (A,)


def test_S5_sources_do_not_share_their_snapshots(cache: SnapshotCache) -> None:
    board = ScriptedSource(complete(A))
    issues = ScriptedSource(complete(item("i", source="multica"), source="multica"), name="multica")
    assert ask(cache, board).items != ask(cache, issues).items
    assert ask(cache, board).items == (A,)


def test_a_source_that_reads_something_else_now_is_read_anew(cache: SnapshotCache) -> None:
    ask(cache, ScriptedSource(complete(A)))
    moved = ScriptedSource(complete(B), identity="ws://elsewhere")
    assert ask(cache, moved).items == (B,)
    assert len(moved.reads) == 1


def test_a_source_that_is_cheap_to_read_is_read_every_time(cache: SnapshotCache) -> None:
    source = ScriptedSource(complete(A), complete(B), failed(), shareable=False)
    assert ask(cache, source).items == (A,)
    assert ask(cache, source).items == (B,)
    assert ask(cache, source).stale == (B,), "and yet its last complete read is kept for an outage"


@pytest.mark.parametrize(
    ("ahead", "reads"), [(timedelta(0), 1), (AHEAD, 1), (AHEAD + SECOND, 2), (timedelta(days=400), 2)]
)
def test_a_snapshot_from_the_future_is_no_longer_trusted_to_be_fresh(
    cache: SnapshotCache, ahead: timedelta, reads: int
) -> None:
    source = ScriptedSource(complete(A))
    ask(cache, source, NOW + ahead)
    ask(cache, source, NOW)
    assert len(source.reads) == reads


def test_a_clock_set_back_does_not_keep_the_snapshot_of_the_future(cache: SnapshotCache) -> None:
    source = ScriptedSource(complete(A), complete(B))
    ask(cache, source, NOW + timedelta(days=1))
    ask(cache, source, NOW)
    assert ask(cache, source, NOW + MINUTE).items == (B,)
    assert len(source.reads) == 2


def test_S2_a_failed_read_shows_the_last_complete_one_and_its_age(cache: SnapshotCache) -> None:
    source = ScriptedSource(FULL, failed(FailureKind.AUTH, "the token was refused"))
    ask(cache, source)
    reading = ask(cache, source, NOW + 35 * MINUTE)
    assert reading.report.status is ReadStatus.FAILED
    assert reading.report.kind is FailureKind.AUTH
    assert reading.items == ()
    assert reading.stale == (A, B)
    assert reading.evidence == ()
    assert reading.report.message == "the token was refused; showing 2 items of the last complete read, 35m ago"
    assert reading.report.read_at == NOW


def test_S2_a_partial_read_is_filled_up_with_what_did_not_come(cache: SnapshotCache) -> None:
    changed = replace(A, title="Write another report")
    source = ScriptedSource(FULL, partial(changed, C))
    ask(cache, source)
    reading = ask(cache, source, NOW + TTL)
    assert reading.report.status is ReadStatus.PARTIAL
    assert reading.items == (changed, C)
    assert reading.stale == (B,)
    assert reading.report.read_at == NOW + TTL
    assert "showing 1 item of the last complete read, 5m ago" in reading.report.message


@pytest.mark.parametrize("broken", [failed(), partial(C)])
def test_S2_only_a_complete_read_replaces_the_snapshot(cache: SnapshotCache, directory: Path, broken: Reading) -> None:
    source = ScriptedSource(complete(A), broken)
    ask(cache, source)
    before = (directory / "workboard.jsonl").read_bytes()
    ask(cache, source, NOW + TTL)
    ask(cache, source, NOW + TTL)
    assert len(source.reads) == 3, "a failure is not remembered either"
    assert (directory / "workboard.jsonl").read_bytes() == before


def test_S2_without_an_earlier_complete_read_there_is_nothing_to_show(cache: SnapshotCache) -> None:
    assert ask(cache, ScriptedSource(failed())) == failed()
    assert ask(cache, ScriptedSource(partial(A))).stale == ()


def test_S2_items_of_another_address_are_never_shown(cache: SnapshotCache) -> None:
    ask(cache, ScriptedSource(complete(A)))
    reading = ask(cache, ScriptedSource(failed(), identity="ws://elsewhere"), NOW + MINUTE)
    assert reading == failed()


def test_S2_the_last_complete_read_of_nothing_is_told_too(cache: SnapshotCache) -> None:
    source = ScriptedSource(complete(), failed())
    ask(cache, source)
    reading = ask(cache, source, NOW + TTL)
    assert reading.stale == ()
    assert "showing 0 items of the last complete read, 5m ago" in reading.report.message


def test_S2_whoever_gave_up_on_a_source_can_ask_for_what_it_said_last(cache: SnapshotCache) -> None:
    never_asked = cache.with_stale(failed())
    assert never_asked == failed()
    source = ScriptedSource(complete(A), OSError("hung up"))
    ask(cache, source)
    with pytest.raises(OSError, match="hung up"):
        ask(cache, source, NOW + TTL)
    reading = cache.with_stale(failed(FailureKind.TIMEOUT, "left behind"))
    assert reading.stale == (A,)
    assert cache.with_stale(reading) == reading


def test_S1a_a_source_that_was_never_read_may_be_disabled(cache: SnapshotCache) -> None:
    assert ask(cache, ScriptedSource(disabled())) == disabled()


def test_S1a_a_source_that_was_complete_before_and_is_gone_has_failed(cache: SnapshotCache) -> None:
    source = ScriptedSource(complete(A), disabled())
    ask(cache, source)
    reading = ask(cache, source, NOW + timedelta(hours=3))
    assert reading.report.status is ReadStatus.FAILED
    assert reading.report.kind is FailureKind.NOT_INSTALLED
    assert "no binary on PATH; it was last read completely 3h ago" in reading.report.message
    assert "PATH" in reading.report.advice
    assert reading.stale == (A,)


def test_S1a_it_has_failed_even_where_its_identity_went_with_it(cache: SnapshotCache) -> None:
    ask(cache, ScriptedSource(complete(A)))
    reading = ask(cache, ScriptedSource(disabled(), identity="nothing found"), NOW + MINUTE)
    assert reading.report.status is ReadStatus.FAILED
    assert "1m ago" in reading.report.message
    assert reading.stale == ()


def test_S1a_the_store_remembers_what_the_snapshot_no_longer_tells(cache: SnapshotCache) -> None:
    reading = ask(cache, ScriptedSource(disabled()), last_complete=NOW - timedelta(days=2))
    assert reading.report.status is ReadStatus.FAILED
    assert reading.report.kind is FailureKind.NOT_INSTALLED
    assert "2d ago" in reading.report.message


def test_S1a_a_damaged_snapshot_still_proves_that_there_was_one(cache: SnapshotCache, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "workboard.jsonl").write_bytes(b"")
    reading = ask(cache, ScriptedSource(disabled()))
    assert reading.report.status is ReadStatus.FAILED
    assert codes(reading) == ["snapshot-damaged"]


def _other_format(lines: list[str]) -> list[str]:
    return [json.dumps(json.loads(lines[0]) | {"format": 2}) + "\n", *lines[1:]]


def _half_a_report(lines: list[str]) -> list[str]:
    header = json.loads(lines[0])
    header["report"]["status"] = "partial"
    return [json.dumps(header) + "\n", *lines[1:]]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda lines: [], id="empty"),
        pytest.param(lambda lines: ["\n"], id="blank line"),
        pytest.param(lambda lines: ["[]\n"], id="no object"),
        pytest.param(lambda lines: ["<html>502</html>\n"], id="another file"),
        pytest.param(lambda lines: ["[" * 100_000 + "\n"], id="deeply nested"),
        pytest.param(_other_format, id="another format"),
        pytest.param(_half_a_report, id="no complete read"),
        pytest.param(lambda lines: lines[:-1], id="cut"),
        pytest.param(lambda lines: [*lines, "\n"], id="more follows"),
        pytest.param(lambda lines: [*lines, lines[1]], id="an item twice"),
        pytest.param(lambda lines: [lines[0], *lines[2:]], id="an item missing"),
        pytest.param(lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], id="items swapped"),
        pytest.param(lambda lines: [lines[0], lines[1].replace("todo", "done"), *lines[2:]], id="an item changed"),
        pytest.param(lambda lines: [*lines[:-1], '{"end":7}\n'], id="another end"),
        pytest.param(lambda lines: [*lines[:-1], "7\n", lines[-1]], id="a number"),
        pytest.param(lambda lines: [lines[0], lines[1], '{"unheard-of":1}\n', *lines[2:]], id="an unknown record"),
    ],
)
def test_a_snapshot_that_is_not_whole_is_ignored_told_and_replaced(
    cache: SnapshotCache, directory: Path, damage: Callable[[list[str]], list[str]]
) -> None:
    path = directory / "workboard.jsonl"
    ask(cache, ScriptedSource(FULL))
    lines = [line.decode("latin-1") for line in path.read_bytes().splitlines(keepends=True)]
    path.write_bytes("".join(damage(lines)).encode("latin-1"))
    outage = ask(cache, ScriptedSource(failed()), NOW + MINUTE)
    assert outage.stale == (), "nothing of it is used"
    assert codes(outage) == ["snapshot-damaged"]
    assert str(path) in outage.report.findings[0].message
    source = ScriptedSource(complete(C))
    reading = ask(cache, source, NOW + MINUTE)
    assert reading.items == (C,)
    assert codes(reading) == ["snapshot-damaged"]
    again = ask(cache, source, NOW + MINUTE)
    assert (again.items, codes(again), len(source.reads)) == ((C,), [], 1)


def test_findings_of_the_source_itself_come_before_ours(cache: SnapshotCache, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "workboard.jsonl").write_text("?")
    plain = complete(A)
    told = replace(plain, report=replace(plain.report, findings=(Finding("clock-skew", "ahead", (A.ref,)),)))
    reading = ask(cache, ScriptedSource(told))
    assert codes(reading) == ["clock-skew", "snapshot-damaged"]
    assert codes(ask(cache, ScriptedSource(told))) == ["clock-skew"], "what was wrong then is not wrong now"


def test_a_reading_that_json_cannot_hold_is_served_and_not_kept(cache: SnapshotCache, directory: Path) -> None:
    naive = complete(item("n", created_at=NOW.replace(tzinfo=None)))
    reading = ask(cache, ScriptedSource(naive))
    assert reading.items == naive.items
    assert codes(reading) == ["snapshot-not-written"]
    assert {path.name for path in directory.iterdir()} == {"workboard.lock"}


def test_a_snapshot_is_for_its_owner_only(cache: SnapshotCache, directory: Path) -> None:
    ask(cache, ScriptedSource(FULL))
    assert {path.name for path in directory.iterdir()} == {"workboard.jsonl", "workboard.lock"}
    assert directory.stat().st_mode & 0o777 == 0o700
    for path in directory.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_R4_the_file_does_not_tell_the_identity(cache: SnapshotCache, directory: Path) -> None:
    ask(cache, ScriptedSource(FULL, identity="ws://10.1.2.3"))
    assert b"10.1.2.3" not in (directory / "workboard.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "..", "a b\n", "源"])
def test_the_name_of_a_source_never_leads_out_of_the_directory(
    cache: SnapshotCache, directory: Path, name: str
) -> None:
    source = ScriptedSource(complete(A), name=name)
    ask(cache, source)
    assert ask(cache, source).items == (A,)
    assert len(source.reads) == 1
    assert len(list(directory.iterdir())) == 2
    assert [path.name for path in directory.parent.iterdir()] == ["snapshots"]


def test_B3_looking_uses_a_fresh_snapshot_and_changes_no_file(cache: SnapshotCache, directory: Path) -> None:
    source = ScriptedSource(complete(A), complete(B), failed())
    ask(cache, source)
    before = files(directory)
    viewer = SnapshotCache(directory, read_only=True)
    assert ask(viewer, source, NOW + MINUTE).items == (A,)
    assert ask(viewer, source, NOW + TTL).items == (B,)
    assert ask(viewer, source, NOW + TTL).stale == (A,)
    assert files(directory) == before


def test_B3_looking_makes_no_file_where_there_is_none(directory: Path) -> None:
    viewer = SnapshotCache(directory, read_only=True)
    assert ask(viewer, ScriptedSource(complete(A))).items == (A,)
    assert not directory.parent.exists()


def test_B3_looking_does_not_wait_for_whoever_reads(cache: SnapshotCache, directory: Path) -> None:
    directory.mkdir(parents=True)
    with exclusive(directory / "workboard.lock"):
        viewer = SnapshotCache(directory, read_only=True)
        assert ask(viewer, ScriptedSource(complete(A)), patience=0).items == (A,)


def test_S5_a_holder_that_never_finishes_is_a_timeout_and_no_stampede(cache: SnapshotCache, directory: Path) -> None:
    ask(cache, ScriptedSource(complete(A)))
    source = ScriptedSource(complete(B))
    with exclusive(directory / "workboard.lock", purpose="reading workboard"):
        reading = ask(cache, source, NOW + TTL, patience=0.05)
    assert source.reads == []
    assert reading.report.status is ReadStatus.FAILED
    assert reading.report.kind is FailureKind.TIMEOUT
    assert f"pid {os.getpid()} (reading workboard)" in reading.report.message
    assert reading.stale == (A,)


def test_S5_a_damaged_snapshot_is_read_anew_by_one_beat_and_not_by_all(cache: SnapshotCache, directory: Path) -> None:
    ask(cache, ScriptedSource(FULL))
    path = directory / "workboard.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    source = ScriptedSource(complete(A))
    with exclusive(directory / "workboard.lock"):
        assert ask(cache, source, NOW + MINUTE, patience=0.05).report.kind is FailureKind.TIMEOUT
    assert source.reads == []


def test_a_bug_in_a_source_is_not_hidden_and_frees_the_lock(cache: SnapshotCache) -> None:
    source = ScriptedSource(ZeroDivisionError("bug"), complete(A))
    with pytest.raises(ZeroDivisionError):
        ask(cache, source)
    assert ask(cache, source, patience=0).items == (A,)


def test_a_complete_read_that_tells_no_time_counts_as_read_now(cache: SnapshotCache) -> None:
    class Timeless(ScriptedSource):
        def read(self, deadline: Deadline, now: datetime) -> Reading:
            self.reads.append(now)
            return complete(A)

    source = Timeless(failed())
    ask(cache, source)
    assert ask(cache, source, NOW + MINUTE).report.read_at == NOW
    assert len(source.reads) == 1
