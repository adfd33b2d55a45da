"""A saved JSON file as a source (rules S1, S4)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heartbeat.systems.base import Deadline, FailureKind, Fetched, TransportError
from heartbeat.systems.openclaw.cards import saved_cards
from heartbeat.systems.saved_file import SavedFile

CARD = {"id": "5b40becb", "title": "写", "status": "todo"}
OPS = {"id": "f07e24dc", "title": "x", "status": "todo", "metadata": {"automation": {"boardId": "ops"}}}


def saved(path: Path, board: str | None = None, max_bytes: int = 10_000) -> SavedFile:
    return SavedFile(path, "WorkBoard cards", saved_cards(board), max_bytes=max_bytes)


def fails(path: Path) -> TransportError:
    with pytest.raises(TransportError) as caught:
        saved(path).fetch(Deadline.after(10))
    assert str(path) in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "document", [[CARD, OPS], {"cards": [CARD, OPS]}, {"cards": [CARD, OPS], "boards": [{"id": "x", "total": 9}]}]
)
def test_the_list_and_its_bare_cards_are_read(tmp_path: Path, document: object) -> None:
    path = tmp_path / "cards.json"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    assert saved(path).fetch(Deadline.after(10)) == Fetched([CARD, OPS])
    assert saved(path, "OPS").fetch(Deadline.after(10)).records == [OPS]
    assert saved(path, "default").fetch(Deadline.after(10)).records == [CARD]
    assert (saved(path).absent(), saved(path).version(Deadline.after(10))) == (None, None)


def test_a_record_whose_board_cannot_be_read_is_kept_for_every_board(tmp_path: Path) -> None:
    path = tmp_path / "cards.json"
    broken = {**CARD, "metadata": []}
    path.write_text(json.dumps([broken, None, OPS]))
    assert saved(path, "default").fetch(Deadline.after(10)).records == [broken, None]


def test_a_terminals_output_that_was_saved_with_its_banner_is_read_and_told(tmp_path: Path) -> None:
    path = tmp_path / "cards.json"
    path.write_text("Gateway call: workboard.cards.list\n" + json.dumps([CARD]))
    (finding,) = saved(path).fetch(Deadline.after(10)).findings
    assert finding.code == "tool-banner"


def test_S1_a_missing_file_is_not_found_and_not_an_unused_source(tmp_path: Path) -> None:
    error = fails(tmp_path / "gone.json")
    assert error.kind is FailureKind.NOT_FOUND
    assert "path" in error.advice


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path, Path("/dev/zero")):
        assert fails(path).kind is FailureKind.REFUSED


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"7", b'{"card": []}', b'{"cards": {}}', b"<html>"])
def test_another_document_is_bad_output(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cards.json"
    path.write_bytes(content)
    with pytest.raises(TransportError) as caught:
        saved(path).fetch(Deadline.after(10))
    assert caught.value.kind is FailureKind.BAD_OUTPUT


def test_S4_a_file_beyond_the_cap_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "cards.json"
    path.write_text(json.dumps(["x" * 10_000]))
    assert fails(path).kind is FailureKind.TOO_LARGE


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cards.json"
    path.write_text("[]")

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    assert fails(path).kind is FailureKind.REFUSED


MEMORY = 400 * 1024 * 1024


@pytest.mark.slow
def test_a_hundred_thousand_cards_fit_into_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "cards.json"
    with path.open("w", encoding="utf-8") as file:
        file.write('{"cards": [')
        for number in range(100_000):
            events = [{"id": f"e{number}", "kind": "created", "at": 1795226214382, "toStatus": "todo"}]
            card = {
                "id": f"{number:08x}-0000-4000-8000-{number:012x}",
                "title": f"接口文档 {number}",
                "status": "todo",
                "priority": "normal",
                "labels": [],
                "position": number,
                "createdAt": 1795226214382,
                "updatedAt": 1795226214382,
                "agentId": "coo",
                "events": events,
                "metadata": {"automation": {"workspaceAccess": {"unrestricted": True}}},
            }
            file.write((", " if number else "") + json.dumps(card, ensure_ascii=False))
        file.write("]}")
    code = (
        "import resource, sys; from datetime import UTC, datetime; from pathlib import Path;"
        "from heartbeat.systems.base import Deadline; from heartbeat.systems.openclaw.source import build;"
        "from tests.support.rosters import make_roster;"
        "source = build({'transport': 'file', 'path': sys.argv[1]}, make_roster(), {});"
        "reading = source.read(Deadline.after(300), datetime(2026, 11, 21, 4, tzinfo=UTC));"
        "print(len(reading.items), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=300
    )
    items, kilobytes = map(int, done.stdout.split())
    assert items == 100_000
    assert kilobytes * 1024 < MEMORY
