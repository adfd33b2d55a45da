"""Beats that root puts on schedule for somebody else: they can run, or nothing is changed."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from heartbeat.errors import CannotWriteError, UsageError
from heartbeat.install import account as accounts
from heartbeat.install.account import Account, account_called, refuse_as_user, user_in, warning_to_root
from heartbeat.install.base import Applied, Order, Piece, changes
from heartbeat.install.systemd import SystemdTarget
from heartbeat.schedule.launch import Launch
from tests.support.fake_schedulers import FakeSchedulers, fake_schedulers
from tests.support.schedules import order, team

WRITER = Account("writer", 4711, 4712, frozenset({4712}), Path("/home/writer"))


@pytest.fixture
def given_away(monkeypatch: pytest.MonkeyPatch) -> dict[Path, tuple[int, int]]:
    """What was given to whom: only root may, and who runs the tests need not be root."""
    given: dict[Path, tuple[int, int]] = {}
    monkeypatch.setattr(
        os, "fchown", lambda number, uid, gid: given.__setitem__(Path(f"/proc/self/fd/{number}").readlink(), (uid, gid))
    )
    return given


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Everything may be read by everybody. Where pytest has its directories is nobody's business here."""
    real = Account._may
    monkeypatch.setattr(
        Account, "_may", lambda this, path, bits: not path.is_relative_to(tmp_path) or real(this, path, bits)
    )
    tmp_path.chmod(0o755)
    program, roster = tmp_path / "heartbeat", tmp_path / "agents.yaml"
    program.touch(0o755)
    roster.touch(0o644)
    return Launch((str(program),), roster, tmp_path / "lib" / "state", "/usr/bin:/bin")


def test_whom_the_units_name_is_who_they_run_as() -> None:
    assert user_in([None, Piece("a", "[Timer]\n"), Piece("b", "[Service]\nUser=writer\nUMask=0077\n")]) == "writer"
    assert user_in([Piece("a", "Environment=User=nobody\n")]) == ""


def test_an_account_takes_its_own_home_along_and_nothing_of_ours() -> None:
    around = {"HOME": "/home/ops", "XDG_STATE_HOME": "/home/ops/state", "PATH": "/bin"}
    assert WRITER.environment(around) == {"HOME": "/home/writer", "PATH": "/bin"}


def test_what_everybody_may_read_is_no_obstacle(launch: Launch) -> None:
    WRITER.refuse(launch)


@pytest.mark.parametrize("what", ["agents.yaml", "heartbeat", "environment"])
def test_a_file_that_the_user_may_not_use_is_refused(what: str, launch: Launch, tmp_path: Path) -> None:
    wish = replace(launch, environment_file=tmp_path / "environment")
    (tmp_path / "environment").touch(0o644)
    (tmp_path / what).chmod(0o600)
    with pytest.raises(UsageError, match=f"writer may not use {tmp_path}/{what}"):
        WRITER.refuse(wish)
    mine = replace(WRITER, uid=os.getuid())
    (tmp_path / what).chmod(0o700)
    mine.refuse(wish)
    (tmp_path / what).chmod(0o750)
    replace(WRITER, groups=frozenset({(tmp_path / what).stat().st_gid})).refuse(wish)


def test_what_a_link_leads_to_counts_too(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    launch.roster.rename(tmp_path / "closed" / "agents.yaml")
    launch.roster.symlink_to(tmp_path / "closed" / "agents.yaml")
    with pytest.raises(UsageError, match=f"writer may not enter {tmp_path}/closed, and beats"):
        WRITER.refuse(launch)


def test_a_directory_that_the_user_may_not_enter_is_refused(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir(mode=0o700)
    with pytest.raises(UsageError, match=f"writer may not use {tmp_path}/lib") as refused:
        WRITER.refuse(launch)
    assert "`state:`" in refused.value.advice


def test_directories_that_are_made_for_it_are_its_own(given_away: dict[Path, tuple[int, int]], tmp_path: Path) -> None:
    mine = replace(WRITER, uid=os.getuid())
    mine.make(tmp_path / "lib" / "state")
    assert given_away == {each: (os.getuid(), 4712) for each in (tmp_path / "lib", tmp_path / "lib" / "state")}
    assert (tmp_path / "lib").stat().st_mode & 0o777 == 0o700
    mine.make(tmp_path / "lib" / "state")


def test_in_its_home_nothing_is_made_where_a_link_leads_to_somebody_elses(
    given_away: dict[Path, tuple[int, int]], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "etc").mkdir()
    (home / ".local").symlink_to(tmp_path / "etc")
    with pytest.raises(CannotWriteError, match="belongs to"):
        replace(WRITER, home=home).make(home / ".local" / "state")
    assert list((tmp_path / "etc").iterdir()) == []
    assert given_away == {}


def test_a_state_of_somebody_else_is_refused(given_away: dict[Path, tuple[int, int]], tmp_path: Path) -> None:
    with pytest.raises(CannotWriteError, match="beats that run as writer could not write there") as refused:
        WRITER.make(tmp_path)
    assert f"chown -R writer {tmp_path}" in refused.value.advice
    assert given_away == {}


def test_only_the_machines_systemd_runs_things_as_somebody_else() -> None:
    here = pwd.getpwuid(os.getuid()).pw_name
    refuse_as_user(here, system=True)
    with pytest.raises(UsageError, match="--as-user is for the machine's systemd"):
        refuse_as_user(here, system=False)
    with pytest.raises(UsageError, match="there is no user 'no-such-user'"):
        refuse_as_user("no-such-user", system=True)
    assert account_called("no-such-user") is None
    found = account_called(here)
    assert found is not None
    assert (found.uid, found.home) == (os.getuid(), Path(pwd.getpwuid(os.getuid()).pw_dir))


def test_root_is_told_that_a_roster_is_somebody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roster = tmp_path / "agents.yaml"
    roster.touch()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "stat", lambda path: os.stat_result((0o100644, 1, 1, 1, 4711, 4712, 0, 0, 0, 0)))
    (said,) = warning_to_root(roster)
    assert said.startswith(f"{roster} belongs to 4711, and what root puts on schedule runs as root")
    assert "--system --as-user 4711" in said
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert list(warning_to_root(roster)) == []


@pytest.fixture
def commands(tmp_path: Path) -> FakeSchedulers:
    return fake_schedulers(tmp_path / "bin")


def test_units_for_a_user_stay_that_users_and_write_where_that_user_is_at_home(
    commands: FakeSchedulers,
    launch: Launch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given_away: dict[Path, tuple[int, int]],
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    writer = replace(WRITER, uid=os.getuid(), home=home)
    monkeypatch.setattr("heartbeat.install.systemd.account_called", {"writer": writer}.get)
    wish = order(team(state=None), launch=replace(launch, apart=Path("/home/ops/.local/state/heartbeat/watchdog/x")))

    def carry_out(target: SystemdTarget, order: Order) -> tuple[Applied, ...]:
        pieces = target.installed(order.launch)
        return target.apply(changes(pieces, target.wanted(order, pieces)))

    def target(user: str | None) -> SystemdTarget:
        environment = {"PATH": commands.path, "HOME": "/root", "OPENCLAW_STATE_DIR": ""}
        directory = tmp_path / "units"
        return SystemdTarget(
            wish.roster, wish.launch, environment, system=True, directory=directory, others=(), user=user
        )

    assert not [each.error for each in carry_out(target("writer"), wish) if each.error]
    service = tmp_path / "units" / "heartbeat.service"
    lines = service.read_text().splitlines()
    assert "User=writer" in lines
    (writable,) = [line for line in lines if line.startswith("ReadWritePaths=")]
    assert "/root" not in writable
    own = [launch.state, home / ".local" / "state" / "heartbeat" / "watchdog"]
    assert all(each.is_dir() and each in given_away for each in own)
    before = service.read_text()
    assert {step.verb.value for step in (each.change for each in carry_out(target(None), wish))} == {"keep"}
    assert service.read_text() == before


def test_the_module_asks_the_machine_for_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert accounts.name_of(os.getuid()) == pwd.getpwuid(os.getuid()).pw_name
    assert accounts.name_of(4_000_000_001) == "4000000001"
