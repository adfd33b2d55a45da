"""A systemd that cannot be reached, hangs, or is not to be started: said each time, and never taken for all is well."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.deadline import Deadline
from heartbeat.install import systemctl
from heartbeat.install.base import Applied, Change, Order, Style, Verb, changes
from heartbeat.install.install import look
from heartbeat.install.systemctl import Answer, State, Systemctl
from heartbeat.install.systemd import SystemdTarget
from heartbeat.store.locks import try_exclusive
from tests.support import schedules
from tests.support.fake_schedulers import FakeSchedulers, fake_schedulers
from tests.support.rosters import make_agent
from tests.support.schedules import make_launch, order, team

NO_BUS = "Failed to connect to bus: No medium found"
TIMERS = ("heartbeat.timer", "heartbeat-watchdog.timer")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(schedules, "STATE", tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def commands(tmp_path: Path) -> FakeSchedulers:
    return fake_schedulers(tmp_path / "bin")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    return tmp_path / "config" / "systemd" / "user"


@pytest.fixture
def no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine was started by."""
    monkeypatch.setattr(Systemctl, "may_run", lambda this: False)


def target_of(commands: FakeSchedulers, units: Path, wish: Order | None = None, *, start: bool = True) -> SystemdTarget:
    chosen = wish or order()
    environment = {"PATH": commands.path}
    return SystemdTarget(
        chosen.roster, chosen.launch, environment, system=False, start=start, directory=units, others=()
    )


def planned(target: SystemdTarget, wish: Order | None) -> tuple[Change, ...]:
    pieces = target.installed(make_launch())
    return changes(pieces, target.without(order(), pieces) if wish is None else target.wanted(wish, pieces))


def carry_out(target: SystemdTarget, wish: Order | None) -> dict[str, Applied]:
    return {each.change.name: each for each in target.apply(planned(target, wish))}


def test_what_could_not_be_started_is_tried_and_said_again_until_it_runs(commands: FakeSchedulers, units: Path) -> None:
    commands.set("no.bus")
    first = carry_out(target_of(commands, units), order())
    again = carry_out(target_of(commands, units), order())
    for timer in TIMERS:
        assert first[timer].error == f"{units}/{timer} is written, and not started: {NO_BUS}"
        assert (again[timer].error, again[timer].advice) == (first[timer].error, first[timer].advice)
    commands.unset("no.bus")
    assert not [each.error for each in carry_out(target_of(commands, units), order()).values() if each.error]
    assert commands.running == set(TIMERS)
    assert {step.verb for step in planned(target_of(commands, units), order())} == {Verb.KEEP}


def test_a_systemd_that_cannot_be_asked_is_a_difference_and_a_remark(commands: FakeSchedulers, units: Path) -> None:
    target = target_of(commands, units)
    carry_out(target, order())
    assert look(target, make_launch()).remarks == ()
    commands.set("no.bus")
    seen = look(target, make_launch())
    assert seen.remarks == (f"whether it runs is not known, systemd-user cannot be asked: {NO_BUS}",)
    assert not any(piece.stopped for piece in seen.pieces)
    steps = {step.name: step.verb for step in planned(target, order())}
    assert {name for name, verb in steps.items() if verb is not Verb.KEEP} == set(TIMERS)
    commands.unset("no.bus")
    assert look(target, make_launch()).remarks == ()


def test_nothing_of_ours_needs_no_systemd(commands: FakeSchedulers, units: Path) -> None:
    commands.set("no.bus")
    assert look(target_of(commands, units), make_launch()).remarks == ()
    assert commands.calls("systemctl") == []


def test_what_is_left_to_run_is_all_that_was_never_switched_on(commands: FakeSchedulers, units: Path) -> None:
    unstarted = target_of(commands, units, start=False)
    carry_out(unstarted, order())
    left = {each.advice for each in carry_out(unstarted, order(style=Style.EACH)).values() if each.advice}
    start = "systemctl --user daemon-reload && systemctl --user enable --now"
    stop = "systemctl --user stop heartbeat.timer && systemctl --user daemon-reload"
    timers = ("heartbeat@coo.timer", "heartbeat@writer.timer", "heartbeat-watchdog.timer")
    assert left == {f"left to run: {start} {' '.join(timers)}", f"left to run: {stop}"}
    again = carry_out(unstarted, order(style=Style.EACH))
    assert {each.change.verb for each in again.values()} == {Verb.KEEP}
    (said,) = {each.advice for each in again.values() if each.advice}
    assert sorted(said.split()) == sorted(f"left to run: {start} {' '.join(timers)}".split())
    wants = units / "timers.target.wants"
    wants.mkdir()
    (wants / "heartbeat-watchdog.timer").symlink_to(units / "heartbeat-watchdog.timer")
    (said,) = {each.advice for each in carry_out(unstarted, order(style=Style.EACH)).values() if each.advice}
    assert "watchdog" not in said
    for timer in timers[:2]:
        (wants / timer).symlink_to(units / timer)
    assert not any(each.advice for each in carry_out(unstarted, order(style=Style.EACH)).values())
    assert commands.calls("systemctl") == []


@pytest.mark.usefixtures("no_systemd")
def test_a_removal_without_a_bus_says_what_may_run_on(commands: FakeSchedulers, units: Path) -> None:
    carry_out(target_of(commands, units), order())
    commands.set("no.bus")
    done = carry_out(target_of(commands, units), None)
    assert not [each.error for each in done.values() if each.error]
    assert not list(units.iterdir())
    (said,) = {each.advice for each in done.values() if each.advice}
    assert said == (
        f"systemd could not be told ({NO_BUS}); if it runs all the same, what it has loaded runs on until: "
        "systemctl --user stop heartbeat-watchdog.timer heartbeat.timer && systemctl --user daemon-reload"
    )


def test_a_removal_that_systemd_did_not_hear_of_is_an_error_where_it_runs(
    commands: FakeSchedulers, units: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Systemctl, "may_run", lambda this: True)
    carry_out(target_of(commands, units), order(watchdog=False))
    commands.set("no.bus")
    done = carry_out(target_of(commands, units), None)
    assert done["heartbeat.timer"].error == (f"{units}/heartbeat.timer is gone, and what ran may run on: {NO_BUS}")
    assert "systemctl --user stop heartbeat.timer" in done["heartbeat.timer"].advice


@pytest.mark.usefixtures("no_systemd")
def test_a_daemon_that_is_left_behind_is_an_error_and_named(commands: FakeSchedulers, units: Path, state: Path) -> None:
    carry_out(target_of(commands, units), order(style=Style.DAEMON, watchdog=False))
    commands.set("no.bus")
    with try_exclusive(state / "locks" / "_daemon.lock", purpose="daemon", until=Deadline.after(60)) as lock:
        assert lock.held
        changed = carry_out(target_of(commands, units), order(style=Style.DAEMON, agents=["coo"], watchdog=False))
        assert "goes on as it was" in changed["heartbeat.service"].error
        removed = carry_out(target_of(commands, units), None)
    assert "; the daemon (pid " in removed["heartbeat.service"].error
    assert removed["heartbeat.service"].error.endswith(") runs")
    assert "systemctl --user stop heartbeat.service" in removed["heartbeat.service"].advice


def many(count: int = 200) -> Order:
    return order(team(*(make_agent(f"agent-{number:03}") for number in range(count))), Style.EACH, watchdog=False)


def test_two_hundred_timers_are_a_handful_of_calls(commands: FakeSchedulers, units: Path) -> None:
    wish = many()
    target = target_of(commands, units, wish)
    assert not [each.error for each in carry_out(target, wish).values() if each.error]
    assert len(commands.running) == 200
    assert [call.split()[2] for call in commands.calls("systemctl")] == ["daemon-reload", "enable", "restart"]
    commands.forget_calls()
    carry_out(target, None)
    assert commands.running == set()
    assert [call.split()[2] for call in commands.calls("systemctl")] == ["show", "disable", "daemon-reload"]


def test_a_systemctl_that_hangs_is_waited_for_once(
    commands: FakeSchedulers, units: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = many()
    carry_out(target_of(commands, units, wish), wish)
    commands.forget_calls()
    commands.set("hangs")
    monkeypatch.setattr(systemctl, "LOOKING_SECONDS", 0.3)
    monkeypatch.setattr(systemctl, "DOING_SECONDS", 0.3)
    monkeypatch.setattr(Systemctl, "may_run", lambda this: True)
    done = carry_out(target_of(commands, units, wish), None)
    assert len(commands.calls("systemctl")) == 1
    errors = [each.error for each in done.values() if each.error]
    assert len(errors) == 200
    assert all("systemctl --user show has not ended within" in error for error in errors)
    assert not list(units.iterdir())


def test_of_many_only_the_one_that_does_not_start_is_an_error(commands: FakeSchedulers, units: Path) -> None:
    commands.set("fails.to.start", "heartbeat@writer.timer")
    done = carry_out(target_of(commands, units), order(style=Style.EACH))
    assert [name for name, each in done.items() if each.error] == ["heartbeat@writer.timer"]
    assert done["heartbeat@writer.timer"].error.endswith("not started: Job for heartbeat@writer.timer failed.")
    assert commands.running == {"heartbeat@coo.timer", "heartbeat-watchdog.timer"}


def test_what_systemctl_does_not_tell_of_a_unit_is_not_well(commands: FakeSchedulers) -> None:
    asked = Systemctl({"PATH": commands.path}, system=True)
    assert asked.ask([]) == Answer()
    assert asked.ask(["a.timer"]) == Answer({"a.timer": State()})
    assert str(State()) == "disabled, not running"
    assert str(State(enabled=True)) == "not running"
    assert str(State(enabled=True, running=True)) == ""
    assert commands.calls("systemctl")[0].startswith("--system --no-ask-password show")


def test_the_users_own_systemd_is_known_by_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda path: False)
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert not Systemctl(environment, system=False).may_run()
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "private").touch()
    assert Systemctl(environment, system=False).may_run()
    assert not Systemctl(environment, system=True).may_run()
