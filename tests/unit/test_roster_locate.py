"""Which roster is meant, and what to do where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.errors import UsageError
from heartbeat.roster.load import load_roster
from heartbeat.roster.locate import find_roster, meant_roster, user_roster


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory of a user who has no configuration yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("agents: {w: {class: business}}\n", encoding="utf-8")
    return path


def test_the_places_are_tried_in_order(here: Path) -> None:
    of_user = write(user_roster())
    assert find_roster(None, {}, here) == of_user
    of_directory = write(here / "agents.yaml")
    assert find_roster(None, {}, here) == of_directory
    of_variable = write(here / "variable.yaml")
    environment = {"HEARTBEAT_ROSTER": str(of_variable)}
    assert find_roster(None, environment, here) == of_variable
    named = write(here / "named.yaml")
    assert find_roster("named.yaml", environment, here) == named


def test_an_empty_variable_names_nothing(here: Path) -> None:
    roster = write(here / "agents.yaml")
    assert find_roster("", {"HEARTBEAT_ROSTER": ""}, here) == roster


def test_a_relative_name_counts_from_the_working_directory(here: Path) -> None:
    roster = write(here / "teams" / "a.yaml")
    assert find_roster(None, {"HEARTBEAT_ROSTER": "teams/a.yaml"}, here) == roster


def test_a_tilde_is_the_home_of_the_environment_given(here: Path, tmp_path: Path) -> None:
    roster = write(tmp_path / "elsewhere" / "a.yaml")
    environment = {"HEARTBEAT_ROSTER": "~/a.yaml", "HOME": str(tmp_path / "elsewhere")}
    assert find_roster(None, environment, here) == roster
    with pytest.raises(UsageError, match="your own home only"):
        find_roster("~somebody/a.yaml", {}, here)


def test_nothing_found_names_the_places_and_what_to_do(here: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_roster(None, {}, here)
    for place in ("--roster", "HEARTBEAT_ROSTER", str(here / "agents.yaml"), str(user_roster())):
        assert place in str(caught.value)
    assert "heartbeat demo" in caught.value.advice
    assert "heartbeat init" in caught.value.advice


@pytest.mark.parametrize(
    ("explicit", "variable", "origin"), [("no.yaml", None, "--roster"), (None, "no.yaml", "HEARTBEAT_ROSTER")]
)
def test_a_named_roster_that_is_missing_is_not_replaced_by_another(
    here: Path, explicit: str | None, variable: str | None, origin: str
) -> None:
    write(here / "agents.yaml")
    environment = {"HEARTBEAT_ROSTER": variable} if variable else {}
    with pytest.raises(UsageError) as caught:
        find_roster(explicit, environment, here)
    assert str(caught.value) == f"there is no roster {here / 'no.yaml'} ({origin})"
    assert origin in caught.value.advice


def test_a_directory_is_answered_with_the_file_in_it(here: Path) -> None:
    inside = write(here / "team" / "agents.yaml")
    with pytest.raises(UsageError, match="is a directory") as caught:
        find_roster("team", {}, here)
    assert caught.value.advice == f"name the file: {inside}"
    (here / "empty").mkdir()
    with pytest.raises(UsageError, match="is a directory") as caught:
        find_roster("empty", {}, here)
    assert caught.value.advice == "name the file, usually agents.yaml"


def test_what_may_not_be_looked_at_is_found_and_the_reading_tells_why(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster = here / "agents.yaml"
    real = Path.stat

    def forbidden(self: Path, *, follow_symlinks: bool = True) -> object:
        if self == roster:
            raise PermissionError(13, "Permission denied")
        return real(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", forbidden)
    found = find_roster(None, {}, here)
    assert found == roster
    with pytest.raises(UsageError, match=r"cannot be read: Permission denied"):
        load_roster(found, {})


def test_a_file_in_the_place_of_a_directory_is_simply_not_there(here: Path) -> None:
    write(here / "file")
    with pytest.raises(UsageError, match="there is no roster"):
        find_roster("file/agents.yaml", {}, here)


def test_the_path_of_a_roster_that_is_gone_is_known_all_the_same(here: Path, tmp_path: Path) -> None:
    assert meant_roster("gone.yaml", {}, here) == here / "gone.yaml"
    assert meant_roster("~/gone.yaml", {"HOME": str(tmp_path)}, here) == tmp_path / "gone.yaml"
    assert meant_roster(None, {"HEARTBEAT_ROSTER": "/old/agents.yaml"}, here) == Path("/old/agents.yaml")
    assert meant_roster("..", {}, here) == here / ".." / "agents.yaml"
    assert meant_roster(None, {}, here) == here / "agents.yaml"
    write(user_roster())
    assert meant_roster(None, {}, here) == user_roster()
    assert meant_roster(None, {}, here) == find_roster(None, {}, here)
    with pytest.raises(UsageError, match="the roster '~gone/x'"):
        meant_roster("~gone/x", {}, here)
