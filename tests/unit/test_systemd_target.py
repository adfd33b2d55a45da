"""systemd as a scheduler: our files and nobody else's, started, stopped, and said where that is left to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from heartbeat.errors import CannotWriteError, UsageError
from heartbeat.install.base import Applied, Order, Style, Verb, changes
from heartbeat.install.standing import NOTHING, Standing
from heartbeat.install.systemd import SystemdTarget
from heartbeat.roster.model import Roster
from heartbeat.schedule.note import id_of
from tests.support import schedules
from tests.support.fake_schedulers import FakeSchedulers, fake_schedulers
from tests.support.rosters import make_agent
from tests.support.schedules import ROSTER, make_launch, order, team

DUE = ("heartbeat.service", "heartbeat.timer", "heartbeat-watchdog.service", "heartbeat-watchdog.timer")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the state of all rosters here is."""
    monkeypatch.setattr(schedules, "STATE", tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def commands(tmp_path: Path) -> FakeSchedulers:
    return fake_schedulers(tmp_path / "bin")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Where units go; it is made when the first comes."""
    return tmp_path / "config" / "systemd" / "user"


def target_of(
    commands: FakeSchedulers, units: Path, wish: Order | None = None, *, system: bool = False, start: bool = True
) -> SystemdTarget:
    chosen = wish or order()
    environment = {"PATH": commands.path, "HOME": str(units.parents[2]), "XDG_CONFIG_HOME": str(units.parents[1])}
    others = [units.parents[1] / "others"]
    return SystemdTarget(
        chosen.roster, chosen.launch, environment, system=system, start=start, directory=units, others=others
    )


def install(target: SystemdTarget, wish: Order) -> tuple[Applied, ...]:
    pieces = target.installed(wish.launch)
    return target.apply(changes(pieces, target.wanted(wish, pieces)))


def remove(target: SystemdTarget, wish: Order) -> tuple[Applied, ...]:
    pieces = target.installed(wish.launch)
    return target.apply(changes(pieces, target.without(wish, pieces)))


def verbs(target: SystemdTarget, wish: Order) -> set[Verb]:
    pieces = target.installed(wish.launch)
    return {step.verb for step in changes(pieces, target.wanted(wish, pieces))}


def names(units: Path) -> set[str]:
    return {path.name for path in units.iterdir()} if units.is_dir() else set()


def test_install_writes_enables_and_starts_and_remove_undoes_it(commands: FakeSchedulers, units: Path) -> None:
    target = target_of(commands, units)
    assert not any(each.error for each in install(target, order()))
    assert names(units) == set(DUE)
    assert commands.running == {"heartbeat.timer", "heartbeat-watchdog.timer"}
    assert commands.calls("systemctl")[0] == "--user --no-ask-password daemon-reload"
    assert target.standing(target.installed(make_launch())) == Standing(Style.DUE, (), watchdog=True)
    assert not any(each.error for each in remove(target, order()))
    assert names(units) == set()
    assert commands.running == set()
    assert target.standing(target.installed(make_launch())) == NOTHING


def test_the_second_install_starts_and_writes_nothing(commands: FakeSchedulers, units: Path) -> None:
    target = target_of(commands, units)
    install(target, order())
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in units.iterdir()}
    commands.forget_calls()
    assert verbs(target, order()) == {Verb.KEEP}
    install(target, order())
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in units.iterdir()} == before
    assert all("show" in call for call in commands.calls("systemctl"))


def test_a_timer_that_somebody_switched_off_is_a_difference_and_is_mended(
    commands: FakeSchedulers, units: Path
) -> None:
    target = target_of(commands, units)
    install(target, order())
    for switch in ("on", "enabled"):
        (commands.folder / switch / "heartbeat.timer").unlink()
    (off,) = [piece for piece in target.installed(make_launch()) if piece.name == "heartbeat.timer"]
    assert off.text.endswith("\n# state: disabled, not running\n")
    assert off.stopped
    install(target, order())
    assert "heartbeat.timer" in commands.running
    assert verbs(target, order()) == {Verb.KEEP}


def test_from_one_style_to_another_nothing_of_the_first_stays(commands: FakeSchedulers, units: Path) -> None:
    target = target_of(commands, units)
    install(target, order())
    install(target, order(style=Style.DAEMON))
    assert names(units) == {"heartbeat.service", "heartbeat-watchdog.service", "heartbeat-watchdog.timer"}
    assert commands.running == {"heartbeat.service", "heartbeat-watchdog.timer"}
    install(target, order(style=Style.EACH, watchdog=False))
    assert names(units) == {"heartbeat@.service", "heartbeat@coo.timer", "heartbeat@writer.timer"}
    assert commands.running == {"heartbeat@coo.timer", "heartbeat@writer.timer"}
    assert target.standing(target.installed(make_launch())) == Standing(Style.EACH)
    install(target, order())
    assert commands.running == {"heartbeat.timer", "heartbeat-watchdog.timer"}
    assert names(units) == set(DUE)


def test_a_daemon_that_becomes_a_job_is_stopped_first(commands: FakeSchedulers, units: Path) -> None:
    target = target_of(commands, units)
    install(target, order(style=Style.DAEMON, watchdog=False))
    commands.forget_calls()
    install(target, order(watchdog=False))
    calls = [call.removeprefix("--user --no-ask-password ") for call in commands.calls("systemctl")]
    doing = [call for call in calls if not call.startswith("show")]
    assert doing == [
        "disable --now heartbeat.service",
        "daemon-reload",
        "enable heartbeat.timer",
        "restart heartbeat.timer",
    ]


def test_named_agents_are_added_and_taken_off(commands: FakeSchedulers, units: Path) -> None:
    target = target_of(commands, units)
    install(target, order(style=Style.EACH, agents=["coo"], watchdog=False))
    before = (units / "heartbeat@coo.timer").stat().st_ino
    install(target, order(style=Style.EACH, agents=["writer"], watchdog=False))
    assert commands.running == {"heartbeat@coo.timer", "heartbeat@writer.timer"}
    assert (units / "heartbeat@coo.timer").stat().st_ino == before
    assert target.standing(target.installed(make_launch())).agents == ("coo", "writer")
    remove(target, order(agents=["coo"]))
    assert commands.running == {"heartbeat@writer.timer"}
    assert {piece.agent for piece in target.installed(make_launch())} == {"", "writer"}


def test_an_agent_called_watchdog_is_an_agent(commands: FakeSchedulers, units: Path) -> None:
    wish = order(team(make_agent("watchdog"), make_agent("coo")), Style.EACH, watchdog=False)
    target = target_of(commands, units, wish)
    install(target, wish)
    assert target.standing(target.installed(make_launch())) == Standing(Style.EACH)


@pytest.mark.parametrize("start", [True, False])
def test_without_a_bus_files_are_written_and_what_is_left_is_said(
    start: bool, commands: FakeSchedulers, units: Path
) -> None:
    commands.set("no.bus")
    applied = {each.change.name: each for each in install(target_of(commands, units, start=start), order())}
    assert names(units) == set(DUE)
    left = "systemctl --user daemon-reload && systemctl --user enable --now heartbeat.timer heartbeat-watchdog.timer"
    timer = applied["heartbeat.timer"]
    if start:
        assert timer.error == (
            f"{units}/heartbeat.timer is written, and not started: Failed to connect to bus: No medium found"
        )
        assert timer.advice == f"then run: {left}"
    else:
        assert (timer.error, timer.advice) == ("", f"left to run: {left}")
        assert commands.calls("systemctl") == []
    assert applied["heartbeat.service"].error == ""


def test_without_systemctl_it_is_the_same(tmp_path: Path, units: Path) -> None:
    target = SystemdTarget(
        order().roster, order().launch, {"PATH": str(tmp_path)}, system=False, directory=units, others=()
    )
    timer = next(each for each in install(target, order()) if each.change.name == "heartbeat.timer")
    assert "is written, and not started: systemctl: no such program" in timer.error
    assert names(units) == set(DUE)


def test_a_unit_that_does_not_start_is_said_in_systemctls_words(commands: FakeSchedulers, units: Path) -> None:
    commands.set("fails.to.start", "heartbeat.timer")
    errors = [each.error for each in install(target_of(commands, units), order(watchdog=False)) if each.error]
    assert errors == [f"{units}/heartbeat.timer is written, and not started: Job for heartbeat.timer failed."]


def test_remove_without_a_bus_takes_the_links_away_too(commands: FakeSchedulers, units: Path) -> None:
    target = target_of(commands, units)
    install(target, order())
    wants = units / "timers.target.wants"
    wants.mkdir()
    (wants / "heartbeat.timer").symlink_to(units / "heartbeat.timer")
    (wants / "theirs.timer").symlink_to("/elsewhere/theirs.timer")
    commands.set("no.bus")
    remove(target, order())
    assert names(units) == {"timers.target.wants"}
    assert [path.name for path in wants.iterdir()] == ["theirs.timer"]


def test_what_is_somebody_elses_is_never_touched(commands: FakeSchedulers, units: Path) -> None:
    units.mkdir(parents=True)
    (units / "heartbeat.service").write_text("[Service]\nExecStart=/bin/true\n")
    (units / "heartbeat.timer").symlink_to("/dev/null")
    target = target_of(commands, units)
    assert target.installed(make_launch()) == ()
    stem = f"heartbeat-{id_of(ROSTER)}"
    install(target, order())
    assert {path.name for path in units.glob(f"{stem}*")} == {name.replace("heartbeat", stem, 1) for name in DUE}
    remove(target, order())
    assert names(units) == {"heartbeat.service", "heartbeat.timer"}
    assert (units / "heartbeat.service").read_text() == "[Service]\nExecStart=/bin/true\n"


def test_a_package_that_has_a_unit_of_that_name_is_not_hidden(commands: FakeSchedulers, units: Path) -> None:
    others = units.parents[1] / "others"
    others.mkdir(parents=True)
    (others / "heartbeat.service").write_text("[Service]\n")
    install(target_of(commands, units), order())
    assert {name.split(".")[0] for name in names(units)} == {
        f"heartbeat-{id_of(ROSTER)}",
        f"heartbeat-{id_of(ROSTER)}-watchdog",
    }


def test_two_rosters_have_units_of_their_own(commands: FakeSchedulers, units: Path) -> None:
    first, second = order(), replace(order(), launch=make_launch(roster=Path("/etc/heartbeat/second.yaml")))
    install(target_of(commands, units, first), first)
    install(target_of(commands, units, second), second)
    assert len(names(units)) == 8
    remove(target_of(commands, units, first), first)
    assert all(id_of(second.launch.roster) in name for name in names(units))
    assert verbs(target_of(commands, units, second), second) == {Verb.KEEP}


def test_a_directory_that_cannot_be_written_is_said_for_each_file(commands: FakeSchedulers, units: Path) -> None:
    units.parent.mkdir(parents=True)
    units.write_text("a file in the way")
    applied = install(target_of(commands, units), order(watchdog=False))
    assert all(str(units) in each.error for each in applied)
    assert commands.running == set()


def test_the_machines_systemd_is_told_what_beats_write_to(commands: FakeSchedulers, units: Path, state: Path) -> None:
    roster: Roster = team(
        make_agent("coo", workspace=Path("/srv/coo")),
        make_agent("w", workspace=Path("/srv/coo/below")),
        channels={"ops": {"kind": "file", "path": "/var/log/ops/x.log"}, "chat": {"kind": "feishu"}},
    )
    launch = make_launch()
    target = SystemdTarget(
        roster, launch, {"PATH": commands.path, "HOME": "/srv/home"}, system=True, directory=units, others=(), user="w"
    )
    assert target.name == "systemd-system"
    install(target, order(roster))
    assert commands.calls("systemctl")[-1].startswith("--system ")
    lines = (units / "heartbeat.service").read_text().splitlines()
    (line,) = [each for each in lines if each.startswith("ReadWritePaths=")]
    assert line.split("=")[1].split() == [
        *([] if state.is_relative_to("/tmp") else [f"-{state}"]),
        "-/srv/coo",
        "-/var/log/ops",
        "-/srv/home/.openclaw",
        "-/srv/home/.multica",
        "-/srv/home/.cache",
        "-/tmp",
        "-/var/tmp",
    ]
    assert "User=w" in lines
    assert state.stat().st_mode & 0o777 == 0o700


def test_a_state_directory_that_cannot_be_made_stops_it_before_anything(
    commands: FakeSchedulers, units: Path, state: Path
) -> None:
    state.write_text("")
    with pytest.raises(CannotWriteError, match=r"the state directory .* cannot be made"):
        install(target_of(commands, units), order())
    assert names(units) == set()
    assert commands.calls("systemctl") == []


def test_turns_are_not_for_systemd(commands: FakeSchedulers, units: Path) -> None:
    with pytest.raises(UsageError, match="no turns of agents"):
        target_of(commands, units).wanted(order(style=Style.TURN), ())


def test_two_stems_taken_by_others_is_refused(commands: FakeSchedulers, units: Path) -> None:
    units.mkdir(parents=True)
    for stem in ("heartbeat", f"heartbeat-{id_of(ROSTER)}"):
        (units / f"{stem}.service").write_text("[Service]\n")
    with pytest.raises(UsageError, match=r"holds units called heartbeat\.\* and heartbeat-"):
        target_of(commands, units).wanted(order(), ())
