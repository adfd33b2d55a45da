"""Whether `openclaw doctor --fix` took a file of ours: by the copies that it keeps (contract 5, 10)."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from heartbeat.render.managed import enclose
from heartbeat.sinks.migrated import Migrated, migrated_file

EARLIER, LATER = 1_795_000_000, 1_795_100_000


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    folder = tmp_path / ".openclaw" / "backups" / "heartbeat-migration"
    folder.mkdir(parents=True)
    return folder


def block(agent: str, body: str = "做事\n") -> str:
    return enclose(body, agent_id=agent, template_digest="1" * 12) + "\n"


def keep(folder: Path, agent: str, text: str, at: int = EARLIER) -> Path:
    """As OpenClaw does: a copy named by its SHA-256, and the file itself in a folder beside it."""
    copy = folder / f"{agent}-{sha256(text.encode()).hexdigest()}.md"
    copy.write_text(text, encoding="utf-8")
    os.utime(copy, (at, at))
    original = folder / f"{copy.name}.CIWNZi"
    original.mkdir()
    (original / "HEARTBEAT.md").write_text(text, encoding="utf-8")
    return copy


def found(copies: Path, agent: str = "coo", **environment: str) -> Migrated | None:
    return migrated_file(agent, {"HOME": str(copies.parents[2]), **environment})


def test_the_newest_copy_with_our_block_counts(copies: Path) -> None:
    keep(copies, "coo", block("coo"), EARLIER)
    newer = keep(copies, "coo", "# 我的\n\n" + block("coo", "做别的\n"), LATER)
    keep(copies, "coo", "手写的心跳\n", LATER + 1)
    assert found(copies) == Migrated(newer, datetime.fromtimestamp(LATER, UTC))


def test_what_was_edited_before_it_was_taken_was_ours_all_the_same(copies: Path) -> None:
    assert found(copies) is None
    copy = keep(copies, "coo", block("coo").replace("做事", "先问"))
    assert found(copies) == Migrated(copy, datetime.fromtimestamp(EARLIER, UTC))


def test_files_of_others_do_not_count(copies: Path) -> None:
    keep(copies, "coo-two", block("coo-two"))
    keep(copies, "coo", block("architect"))
    (copies / "coo-notes.md").write_text(block("coo"))
    assert found(copies) is None


def test_the_state_directory_that_the_environment_names_is_looked_at(copies: Path, tmp_path: Path) -> None:
    copy = keep(copies, "coo", block("coo"))
    elsewhere = {"HOME": "/nowhere", "OPENCLAW_STATE_DIR": str(tmp_path / ".openclaw")}
    assert migrated_file("coo", elsewhere) == Migrated(copy, datetime.fromtimestamp(EARLIER, UTC))
    assert migrated_file("coo", {"HOME": "/nowhere"}) is None


def test_what_this_user_may_not_read_tells_nothing(copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(copies, "coo", block("coo"))

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert found(copies) is None
