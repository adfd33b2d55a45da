"""`heartbeat cron … --target systemd` as a user sees it, where systemd is silent or others have units too."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.install.systemctl import Systemctl
from tests.support.command import Result, heartbeat
from tests.support.fake_schedulers import FakeSchedulers, fake_schedulers

THEIRS = "[Service]\nExecStart=/usr/bin/pulse\n"
SYSTEMD = ("--target", "systemd", "--user")


@pytest.fixture
def commands(tmp_path: Path) -> FakeSchedulers:
    return fake_schedulers(tmp_path / "bin")


@pytest.fixture
def cron(team: Path, commands: FakeSchedulers):
    """Runs `heartbeat cron …` in the sample team."""

    def run(*words: str, **environment: str) -> Result:
        return heartbeat("cron", *words, cwd=team, **{"PATH": commands.path, **environment})

    return run


@pytest.fixture
def units(team: Path) -> Path:
    return team / ".config" / "systemd" / "user"


def test_a_unit_of_my_own_survives_install_in_another_style_and_remove(cron, units: Path) -> None:
    assert cron("install", *SYSTEMD, "--each", "--no-start").code == 0
    (units / "heartbeat.service").write_text(THEIRS)
    dry = cron("install", *SYSTEMD, "--due", "--no-start", "--dry-run")
    assert "systemd-user: heartbeat.service " not in dry.out
    assert cron("install", *SYSTEMD, "--due", "--no-start").code == 0
    assert (units / "heartbeat.service").read_text() == THEIRS
    assert cron("remove", "--no-start").code == 0
    assert [path.name for path in units.iterdir()] == ["heartbeat.service"]
    assert (units / "heartbeat.service").read_text() == THEIRS


def test_beats_that_were_never_started_are_never_nothing_changed(
    cron, commands: FakeSchedulers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Systemctl, "may_run", lambda this: False)
    commands.set("no.bus")
    for _ in range(2):
        done = cron("install", *SYSTEMD)
        assert done.code == 73
        assert "heartbeat.timer is written, and not started: Failed to connect to bus" in done.out
        assert "systemctl --user enable --now heartbeat.timer heartbeat-watchdog.timer" in done.err
    shown = cron("show")
    assert "systemd-user    due; everybody; watchdog; differs" in shown.out
    assert "whether it runs is not known, systemd-user cannot be asked: Failed to connect to bus" in shown.out
    compared = cron("diff")
    assert compared.code == 1
    assert "-# state: not known" in compared.out
    assert "cannot be asked" in compared.err
    removed = cron("remove")
    assert removed.code == 0
    assert "what it has loaded runs on until: systemctl --user stop " in removed.err


def test_what_is_left_to_run_after_each_names_the_watchdog_too(cron) -> None:
    cron("install", *SYSTEMD, "--no-start")
    done = cron("install", *SYSTEMD, "--each", "--no-start")
    assert done.code == 0
    (line,) = [each for each in done.err.splitlines() if "left to run" in each and "enable --now" in each]
    assert "heartbeat@coo.timer" in line
    assert "heartbeat-watchdog.timer" in line


def test_as_user_is_for_the_machines_systemd_and_users_that_there_are(cron, units: Path) -> None:
    elsewhere = cron("install", *SYSTEMD, "--as-user", "nobody")
    assert elsewhere.code == 2
    assert "--as-user is for the machine's systemd" in elsewhere.err
    assert "`sudo -u nobody heartbeat cron install`" in elsewhere.err
    unknown = cron("install", "--system", "--as-user", "no-such-user", "--dry-run")
    assert unknown.code == 2
    assert "there is no user 'no-such-user'" in unknown.err
    assert not units.exists()


def test_units_of_the_machine_name_the_user(cron) -> None:
    done = cron("install", "--system", "--as-user", "nobody", "--dry-run")
    assert done.code == 0
    assert "\n+User=nobody\n" in done.out
