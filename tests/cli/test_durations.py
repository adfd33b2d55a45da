"""A duration that somebody has set is shown as exactly itself, wherever it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from freezegun import freeze_time

from tests.support.command import heartbeat
from tests.support.fake_schedulers import fake_schedulers
from tests.support.operations import AT


@pytest.fixture
def odd(team: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A team whose coo beats every ninety seconds."""
    monkeypatch.setenv("PATH", fake_schedulers(tmp_path / "bin").path)
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text().replace("class: high_frequency,", "class: high_frequency, every: 90s,", 1))
    return team


@pytest.mark.parametrize(
    "words", [("cron", "show"), ("run", "--dry-run"), ("roster", "show", "coo"), ("roster", "show"), ("tick", "coo")]
)
def test_ninety_seconds_are_not_a_minute(odd: Path, words: tuple[str, ...]) -> None:
    with freeze_time(AT):
        done = heartbeat(*words, cwd=odd)
    assert done.code == 0, done.err
    assert "1m30s" in done.out


def test_documents_have_it_as_it_was_set(odd: Path) -> None:
    [coo] = heartbeat("roster", "show", "coo", "--json", cwd=odd).json["agents"]
    assert coo["every"] == "1m30s"
    agents = heartbeat("cron", "show", "--json", cwd=odd).json["agents"]
    assert [each["every"] for each in agents if each["id"] == "coo"] == ["1m30s"]
