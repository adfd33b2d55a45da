"""Names out of a snapshot without reading all of it: for completion, and for screens that know an id only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.cli.called import called
from heartbeat.systems.snapshot_file import find_keys, peek_items, write_snapshot
from heartbeat.task import Evidence, EvidenceKind, Item, Ref
from tests.support.scripted_source import NOW, complete, item

ISSUE = Ref("multica", "0198f0a0-7777-7000-8000-000000000028")


def kept(path: Path, *items: Item, source: str = "multica") -> Path:
    reading = complete(*items, source=source)
    evidence = tuple(Evidence(each.ref, NOW, EvidenceKind.COMMENT, "e") for each in items)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_snapshot(path, replace(reading, report=replace(reading.report, read_at=NOW), evidence=evidence), "x")
    return path


texts = st.text(st.characters(), max_size=12)


@given(st.lists(st.tuples(texts, texts, texts), unique_by=lambda each: each[:2], max_size=6), st.data())
def test_every_item_is_found_by_its_ref_whatever_characters_stand_in_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    items = [item("x", ref=Ref(source, id_), key=key) for source, id_, key in rows]
    path = kept(tmp_path_factory.mktemp("names") / "s.jsonl", *items)
    wanted = set(data.draw(st.lists(st.sampled_from([each.ref for each in items]), unique=True))) if items else set()
    assert find_keys(path, {*wanted, Ref("gone", "1")}) == {each.ref: each.key for each in items if each.ref in wanted}
    assert [each.key for each in peek_items(path, 3)] == [each.key for each in items][:3]


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"\xff\n", b'{"format": 99}\n', b'{"item": {"ref": ["a", "b"]}}\n'])
def test_a_file_that_is_no_good_names_nothing(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "multica.jsonl"
    path.write_bytes(damage)
    assert find_keys(path, {ISSUE}) == {}
    assert list(peek_items(path, 9)) == []
    assert find_keys(tmp_path / "gone.jsonl", {ISSUE}) == {}


def test_a_file_that_was_cut_names_what_stands_before_the_cut(tmp_path: Path) -> None:
    path = kept(tmp_path / "multica.jsonl", item("1", ref=ISSUE, key="BIZ-28"), item("2", ref=Ref("multica", "2")))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    assert find_keys(path, {ISSUE, Ref("multica", "2")}) == {ISSUE: "BIZ-28"}
    assert [each.key for each in peek_items(path, 9)] == ["BIZ-28"]


def test_what_people_call_a_task_is_known_from_every_source_but_those_named_by_place(tmp_path: Path) -> None:
    card, line = Ref("workboard", "c0ffee11-5a3e-4c1d-9b7f-a1b384d4d311"), Ref("todo", "coo/TODO.md#1")
    snapshots = tmp_path / "snapshots"
    kept(snapshots / "multica.jsonl", item("1", ref=ISSUE, key="BIZ-28"))
    kept(snapshots / "workboard.jsonl", item("2", ref=card, key="c0ffee11"), source="workboard")
    kept(snapshots / "todo.jsonl", item("3", ref=line, key="TODO.md:7"), source="todo")
    asked = [str(ISSUE), str(card), str(line), "multica:gone", "nonsense", "", "multica:"]
    assert called(tmp_path, asked) == {str(ISSUE): "BIZ-28", str(card): "c0ffee11"}
    assert called(tmp_path / "nowhere", asked) == {}
