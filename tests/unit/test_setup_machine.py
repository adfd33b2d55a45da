"""What the machine says about itself: the person, the zone, where state goes."""

from __future__ import annotations

import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from heartbeat.setup import machine


@pytest.mark.parametrize(
    ("full", "login", "environment", "name"),
    [
        ("陆怀瑾,,,", "lu", {}, "陆怀瑾"),
        ("", "lu", {"USER": "else"}, "lu"),
        ("root", "root", {}, "operator"),
        ("", "root", {"USER": "ubuntu"}, "ubuntu"),
        ("\x1b[31mA\nB", "x", {}, "[31mA B"),
    ],
)
def test_the_operator_is_the_full_name_else_the_login(
    full: str, login: str, environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwuid", lambda number: SimpleNamespace(pw_gecos=full, pw_name=login))
    assert machine.operator_name(environment) == name


def test_an_account_that_the_machine_does_not_know_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> object:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert machine.operator_name({"USER": "v"}) == "v"


def test_the_zone_is_that_of_TZ_then_of_localtime_then_of_timezone_else_utc(tmp_path: Path) -> None:
    assert machine.time_zone({}, tmp_path)[0] == "UTC"
    (tmp_path / "timezone").write_text("Asia/Shanghai\n")
    assert machine.time_zone({}, tmp_path) == ("Asia/Shanghai", str(tmp_path / "timezone"))
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/America/New_York")
    assert machine.time_zone({}, tmp_path)[0] == "America/New_York"
    assert machine.time_zone({"TZ": ":Europe/Berlin"}, tmp_path) == ("Europe/Berlin", "TZ")
    assert machine.time_zone({"TZ": "CST-8"}, tmp_path)[0] == "America/New_York"
    assert machine.time_zone({"TZ": "/etc/localtime"}, tmp_path)[0] == "America/New_York"


@pytest.mark.parametrize("where", ["state", "."])
def test_a_second_roster_has_a_state_directory_of_its_own(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    base = tmp_path / "heartbeat"
    assert machine.state_directory(tmp_path / "agents.yaml") == base / "state"
    taken = base if where == "." else base / where
    taken.mkdir(parents=True)
    (taken / "state.db").write_bytes(b"")
    first, second = (machine.state_directory(tmp_path / name / "agents.yaml") for name in ("a", "b"))
    assert first.parent == second.parent == base
    assert len({first, second, taken}) == 3
