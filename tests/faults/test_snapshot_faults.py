"""The shared snapshot between real processes, killed writers and bad disks (rules S2, S5)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.systems.base import Deadline, FailureKind, Reading, ReadStatus
from heartbeat.systems.snapshot import SnapshotCache
from tests.support.child import child, mount_namespace, run
from tests.support.scripted_source import NOW, ScriptedSource, complete, failed, item

TTL = timedelta(minutes=5)
OLD = complete(item("a", "旧"), item("b"))
NEW = complete(item("c"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


def ask(directory: Path, source: ScriptedSource, minutes: float = 0.0, *, patience: float = 30.0) -> Reading:
    now = NOW + timedelta(minutes=minutes)
    return SnapshotCache(directory).read(source, deadline=Deadline.after(patience), now=now, ttl=TTL)


_BEAT = """
import sys
from datetime import timedelta
from pathlib import Path
from heartbeat.systems.base import Deadline
from heartbeat.systems.snapshot import SnapshotCache
from tests.support.scripted_source import NOW, ScriptedSource, complete, failed, item

def answer(deadline, now):
    print("reading")
    input()
    return failed() if sys.argv[3] == "fails" else complete(item(sys.argv[2]))

source = ScriptedSource(answer)
cache = SnapshotCache(Path(sys.argv[1]))
print("ready")
input()
reading = cache.read(source, deadline=Deadline.after(float(sys.argv[4])), now=NOW, ttl=timedelta(minutes=5))
print(len(source.reads), reading.report.status, reading.report.kind, [one.key for one in reading.items])
"""


def test_S5_two_beats_at_once_read_the_source_once(directory: Path) -> None:
    with child(_BEAT, directory, "one", "works", 30) as first, child(_BEAT, directory, "two", "works", 30) as second:
        for each in (first, second):
            assert each.line() == "ready"
        first.go_on()
        assert first.line() == "reading"
        second.go_on()
        first.go_on()
        assert first.line() == "1 complete None ['one']"
        assert second.line() == "0 complete None ['one']"


def test_S5_whoever_waited_for_a_read_that_failed_reads_for_itself(directory: Path) -> None:
    with child(_BEAT, directory, "one", "fails", 30) as first, child(_BEAT, directory, "two", "works", 30) as second:
        for each in (first, second):
            assert each.line() == "ready"
        first.go_on()
        assert first.line() == "reading"
        second.go_on()
        first.go_on()
        assert first.line() == "1 failed unreachable []"
        assert second.line() == "reading"
        second.go_on()
        assert second.line() == "1 complete None ['two']"


def test_S5_whoever_waited_for_a_killed_reader_reads_for_itself(directory: Path) -> None:
    with child(_BEAT, directory, "one", "works", 30) as first:
        assert first.line() == "ready"
        first.go_on()
        assert first.line() == "reading"
        with child(_BEAT, directory, "two", "works", 30) as second:
            assert second.line() == "ready"
            second.go_on()
            first.kill()
            assert second.line() == "reading"
            second.go_on()
            assert second.line() == "1 complete None ['two']"


def test_S5_a_reader_that_hangs_is_waited_for_until_the_deadline_and_named(directory: Path) -> None:
    ask(directory, ScriptedSource(OLD))
    with child(_BEAT.replace("now=NOW", "now=NOW + timedelta(hours=1)"), directory, "one", "works", 30) as hanging:
        assert hanging.line() == "ready"
        hanging.go_on()
        assert hanging.line() == "reading"
        source = ScriptedSource(NEW)
        reading = ask(directory, source, 60, patience=0.1)
        assert source.reads == []
        assert reading.report.status is ReadStatus.FAILED
        assert reading.report.kind is FailureKind.TIMEOUT
        assert f"pid {hanging.pid} (reading workboard)" in reading.report.message
        assert reading.stale == OLD.items


_KILLED_WRITER = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from heartbeat.systems import snapshot_file
from heartbeat.systems.base import Deadline
from heartbeat.systems.snapshot import SnapshotCache
from tests.support.scripted_source import NOW, ScriptedSource, complete, item

def die(*arguments, **named):
    os.kill(os.getpid(), signal.SIGKILL)

step = sys.argv[2]
if step == "while writing":
    encode, left = snapshot_file.codec.encode_item, iter(range(5000))
    snapshot_file.codec.encode_item = lambda one: encode(one) if next(left) < 4000 else die()
elif step == "before fsync":
    os.fsync = die
elif step == "before rename":
    Path.replace = die
cache = SnapshotCache(Path(sys.argv[1]))
source = ScriptedSource(complete(*(item(str(number), "x" * 500) for number in range(5000))))
cache.read(source, deadline=Deadline.after(30), now=NOW + timedelta(hours=1), ttl=timedelta(minutes=5))
print("written")
"""


@pytest.mark.parametrize("step", ["while writing", "before fsync", "before rename"])
def test_a_killed_writer_leaves_the_old_snapshot_and_no_litter_for_long(directory: Path, step: str) -> None:
    ask(directory, ScriptedSource(OLD))
    with child(_KILLED_WRITER, directory, step) as writer:
        assert writer.end() == -9
    assert (directory / "workboard.jsonl.new").exists(), "it was killed in the middle of it"
    outage = ask(directory, ScriptedSource(failed()), 60)
    assert outage.stale == OLD.items
    assert outage.report.findings == ()
    assert ask(directory, ScriptedSource(NEW), 60).items == NEW.items
    assert sorted(path.name for path in directory.iterdir()) == ["workboard.jsonl", "workboard.lock"]
    assert ask(directory, ScriptedSource(failed()), 60).items == NEW.items


def test_a_snapshot_cut_at_any_byte_is_never_half_used(directory: Path) -> None:
    ask(directory, ScriptedSource(OLD))
    path = directory / "workboard.jsonl"
    whole = path.read_bytes()
    assert len(whole) < 2000
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        reading = SnapshotCache(directory, read_only=True).read(
            ScriptedSource(failed()), deadline=Deadline.after(30), now=NOW, ttl=TTL
        )
        assert reading.items == ()
        assert reading.stale == ()
        assert [finding.code for finding in reading.report.findings] == ["snapshot-damaged"]


def test_a_snapshot_with_any_bit_flipped_is_never_half_used(directory: Path) -> None:
    ask(directory, ScriptedSource(OLD))
    path = directory / "workboard.jsonl"
    whole = path.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        reading = SnapshotCache(directory, read_only=True).read(
            ScriptedSource(failed()), deadline=Deadline.after(30), now=NOW, ttl=TTL
        )
        assert reading.items == ()
        assert reading.stale == ()


def test_a_directory_in_its_place_is_told_and_read_around(directory: Path) -> None:
    (directory / "workboard.jsonl").mkdir(parents=True)
    reading = ask(directory, ScriptedSource(NEW))
    assert reading.items == NEW.items
    assert [finding.code for finding in reading.report.findings] == ["snapshot-damaged", "snapshot-not-written"]
    assert not (directory / "workboard.jsonl.new").exists()


def test_where_the_directory_cannot_be_made_the_source_is_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    reading = ask(tmp_path / "state" / "snapshots", ScriptedSource(NEW))
    assert reading.report.status is ReadStatus.COMPLETE
    assert reading.items == NEW.items
    assert "snapshot-not-locked" in [finding.code for finding in reading.report.findings]


def test_a_link_put_where_the_writer_writes_is_not_followed(directory: Path, tmp_path: Path) -> None:
    directory.mkdir()
    (tmp_path / "precious").write_text("precious")
    (directory / "workboard.jsonl.new").symlink_to(tmp_path / "precious")
    reading = ask(directory, ScriptedSource(NEW))
    assert reading.items == NEW.items
    assert (tmp_path / "precious").read_text() == "precious"


_ON_BAD_DISKS = """
import subprocess, sys
from datetime import timedelta
from pathlib import Path
from heartbeat.systems.base import Deadline
from heartbeat.systems.snapshot import SnapshotCache
from tests.support.scripted_source import NOW, ScriptedSource, complete, failed, item

def ask(read_only, minutes, *script):
    cache = SnapshotCache(Path(sys.argv[1]), read_only=read_only)
    now = NOW + timedelta(minutes=minutes)
    reading = cache.read(ScriptedSource(*script), deadline=Deadline.after(30), now=now, ttl=timedelta(minutes=5))
    codes = [finding.code for finding in reading.report.findings]
    print(reading.report.status, len(reading.items), len(reading.stale), codes)

subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", sys.argv[1]], check=True)
ask(False, 0, complete(item("a")))
ask(False, 10, complete(*(item(str(number), "x" * 500) for number in range(1000))))
ask(False, 20, failed())
print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
ask(False, 0, failed())
ask(False, 20, complete(item("b")))
ask(True, 0, failed())
ask(True, 20, failed())
"""


def test_a_full_or_read_only_disk_costs_the_sharing_and_not_the_reading(tmp_path: Path) -> None:
    said = run(_ON_BAD_DISKS, tmp_path, prefix=mount_namespace())
    assert said == [
        "complete 1 0 []",
        "complete 1000 0 ['snapshot-not-written']",
        "failed 0 1 []",
        "['workboard.jsonl', 'workboard.lock']",
        "complete 1 0 []",
        "complete 1 0 ['snapshot-not-locked']",
        "complete 1 0 []",
        "failed 0 1 []",
    ]
