"""`heartbeat verify` from the outside: a round on a virtual clock, real beats in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory

from tests.support.command import Result, heartbeat

BEGIN = datetime(2026, 11, 21, 4, 6, tzinfo=UTC)


def verify(
    team: Path,
    monkeypatch: pytest.MonkeyPatch,
    *words: str,
    during: Callable[[FrozenDateTimeFactory], None] = lambda clock: None,
    **environment: str,
) -> Result:
    """One call in which waiting moves the clock, and whatever `during` does happens at every look."""
    with freeze_time(BEGIN) as clock:

        def wait(seconds: float) -> None:
            clock.tick(timedelta(seconds=seconds))
            during(clock)

        monkeypatch.setattr("heartbeat.cli.verify.wait", wait)
        return heartbeat("verify", *words, cwd=team, **environment)


def beats(team: Path, *words: str) -> Callable[[FrozenDateTimeFactory], None]:
    """Beats of whoever is due, once a minute."""
    begun: set[int] = set()

    def tick(clock: FrozenDateTimeFactory) -> None:
        minute = datetime.now(UTC).minute
        if minute not in begun:
            begun.add(minute)
            assert heartbeat("tick", "--due", "--scheduled", *words, cwd=team).code == 0

    return tick


def test_a_round_in_which_everybody_beats(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = verify(team, monkeypatch, during=beats(team))
    assert done.code == 0, done.out
    assert done.out.splitlines()[-1] == "OK: 3 of 3 agents beat"
    assert "done by pid" in done.out


def test_who_does_not_beat_is_a_gap_with_what_to_do(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = verify(team, monkeypatch, "--json", during=beats(team, "coo", "architect"))
    assert done.code == done.json["exit_code"] == 1
    assert done.json["verdict"] == "FOUND: 2 of 3 agents beat; gap: costcodev"
    missing = {each["agent"]: each for each in done.json["agents"]}["costcodev"]
    assert missing["problems"] == ["no beat answered its slot"]
    assert missing["advice"]
    assert "costcodev" in done.err


def test_a_source_that_is_down_is_a_gap(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (team / "multica.json").unlink()
    done = verify(team, monkeypatch, "coo", during=beats(team, "coo"))
    assert done.code == 1
    assert "multica failed" in done.out


def test_a_workspace_that_is_missing_is_a_gap_of_its_own_agent_alone(
    team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (team / "workspaces" / "architect").rename(team / "elsewhere")
    done = verify(team, monkeypatch, "--json", during=beats(team))
    found = {each["agent"]: each for each in done.json["agents"]}
    assert {name: each["result"] for name, each in found.items()} == {
        "coo": "beat",
        "architect": "gap",
        "costcodev": "beat",
    }
    assert found["coo"]["notes"][0].startswith("no part of coo's: todo partial: architect: the workspace ")
    assert found["architect"]["notes"] == []


def test_a_source_that_cron_does_not_find_is_a_gap_of_who_has_an_id_there(
    team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster = team / "agents.yaml"
    text, path = roster.read_text(), "{transport: file, path: "
    for name in ("workboard", "multica"):
        text = text.replace(f"{name}: {path}{name}.json}}", f"{name}: {{}}")
    assert path not in text
    roster.write_text(text)
    done = verify(team, monkeypatch, "coo", during=beats(team, "coo"), PATH="/nonexistent")
    assert done.code == 1
    assert "multica was not read: the roster gives coo an id there" in done.out
    assert "not in use: workboard, multica; read: todo" in done.out
    assert "not used: workboard, multica (nothing found; `heartbeat doctor --cron` tries it as beats do)" in done.out


def test_without_any_state_it_is_a_gap_and_says_that_nothing_was_begun(
    team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = verify(team, monkeypatch)
    assert done.code == 1
    assert "nothing has ever beaten on" in done.out
    assert not (team / "state").exists()


def test_a_timeout_that_is_too_short_is_3(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = verify(team, monkeypatch, "--timeout", "20s")
    assert done.code == 3
    assert "its slot was not waited for" in done.out


def test_ctrl_c_tells_what_there_is(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(clock: FrozenDateTimeFactory) -> None:
        raise KeyboardInterrupt

    done = verify(team, monkeypatch, during=interrupt)
    assert done.code == 3
    assert "interrupted" in done.out


@pytest.mark.parametrize("words", [["--timeout", "soon"], ["--all", "coo"], ["nobody"]])
def test_a_wrong_call_is_2(team: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    assert verify(team, monkeypatch, *words).code == 2
