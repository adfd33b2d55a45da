"""Units of other people's in the directory where ours lie: never written over, removed, stopped or started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbeat.errors import UsageError
from heartbeat.install.base import Applied, Change, Order, Style, Verb, changes
from heartbeat.install.systemd import SystemdTarget
from heartbeat.schedule.note import id_of
from tests.support import schedules
from tests.support.fake_schedulers import FakeSchedulers, fake_schedulers
from tests.support.schedules import ROSTER, make_launch, order

THEIRS = b"[Service]\nExecStart=/usr/bin/pulse\n"
SAME_NAME = f"heartbeat-{id_of(ROSTER)}"
STYLES = (Style.DUE, Style.EACH, Style.DAEMON)
FILES = {
    Style.DUE: ("heartbeat.service", "heartbeat.timer", "heartbeat-watchdog.service", "heartbeat-watchdog.timer"),
    Style.EACH: ("heartbeat@.service", "heartbeat@coo.timer", "heartbeat@writer.timer"),
    Style.DAEMON: ("heartbeat.service",),
}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "STATE", tmp_path / "state")


@pytest.fixture
def commands(tmp_path: Path) -> FakeSchedulers:
    return fake_schedulers(tmp_path / "bin")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    directory = tmp_path / "config" / "systemd" / "user"
    directory.mkdir(parents=True)
    return directory


def target_of(commands: FakeSchedulers, units: Path) -> SystemdTarget:
    wish = order()
    others = [units.parents[1] / "others"]
    return SystemdTarget(
        wish.roster, wish.launch, {"PATH": commands.path}, system=False, directory=units, others=others
    )


def planned(target: SystemdTarget, wish: Order | None) -> tuple[Change, ...]:
    """The steps to an order, or off again."""
    pieces = target.installed(make_launch())
    return changes(pieces, target.without(order(), pieces) if wish is None else target.wanted(wish, pieces))


def carry_out(target: SystemdTarget, wish: Order | None) -> tuple[Applied, ...]:
    return target.apply(planned(target, wish))


def every_way() -> Iterator[tuple[Style, Style, str]]:
    """From each style to each other one, and each file of the second that the first does not have."""
    for before in STYLES:
        for after in STYLES:
            yield from ((before, after, name) for name in FILES[after] if name not in FILES[before])


@pytest.mark.parametrize(("before", "after", "name"), list(every_way()))
@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_another_style_leaves_a_unit_of_somebody_else_alone(
    kind: str, before: Style, after: Style, name: str, commands: FakeSchedulers, units: Path
) -> None:
    target = target_of(commands, units)
    carry_out(target, order(style=before, watchdog=False))
    theirs = units / name
    if kind == "file":
        theirs.write_bytes(THEIRS)
    elif kind == "link":
        theirs.symlink_to("/dev/null")
    else:
        theirs.mkdir()
    stands = theirs.lstat().st_ino, theirs.lstat().st_mtime_ns
    commands.forget_calls()

    wish = order(style=after, watchdog=after is Style.DUE)
    steps = planned(target, wish)
    assert name not in {step.name for step in steps}
    assert not [each.error for each in target.apply(steps) if each.error]
    ours = {piece.name for piece in target.installed(make_launch())}
    assert ours == {each.replace("heartbeat", SAME_NAME, 1) for each in FILES[after]}
    assert {step.verb for step in planned(target, wish)} == {Verb.KEEP}

    assert not [each.error for each in carry_out(target, None) if each.error]
    assert {path.name for path in units.iterdir()} == {name}
    assert (theirs.lstat().st_ino, theirs.lstat().st_mtime_ns) == stands
    assert kind != "file" or theirs.read_bytes() == THEIRS
    assert not [call for call in commands.calls("systemctl") if f" {name} " in f"{call} "]


def test_a_timer_of_ours_never_starts_a_service_of_somebody_else(commands: FakeSchedulers, units: Path) -> None:
    target = target_of(commands, units)
    carry_out(target, order(watchdog=False))
    (units / "heartbeat@coo.service").write_bytes(THEIRS)
    carry_out(target, order(style=Style.EACH, watchdog=False))
    assert commands.running == {f"{SAME_NAME}@coo.timer", f"{SAME_NAME}@writer.timer"}


def test_a_unit_of_a_package_is_not_hidden_by_another_style_either(commands: FakeSchedulers, units: Path) -> None:
    target = target_of(commands, units)
    carry_out(target, order(style=Style.EACH, watchdog=False))
    others = units.parents[1] / "others"
    others.mkdir()
    (others / "heartbeat.timer").write_bytes(THEIRS)
    carry_out(target, order(watchdog=False))
    assert {path.name for path in units.iterdir()} == {f"{SAME_NAME}.service", f"{SAME_NAME}.timer"}


def test_a_watchdog_that_comes_later_finds_its_place_taken_too(commands: FakeSchedulers, units: Path) -> None:
    target = target_of(commands, units)
    carry_out(target, order(watchdog=False))
    (units / "heartbeat-watchdog.timer").write_bytes(THEIRS)
    carry_out(target, order())
    assert (units / "heartbeat-watchdog.timer").read_bytes() == THEIRS
    assert commands.running == {f"{SAME_NAME}.timer", f"{SAME_NAME}-watchdog.timer"}


def test_where_both_names_are_taken_nothing_is_done(commands: FakeSchedulers, units: Path) -> None:
    target = target_of(commands, units)
    carry_out(target, order(style=Style.EACH, watchdog=False))
    for stem in ("heartbeat", SAME_NAME):
        (units / f"{stem}.service").write_bytes(THEIRS)
    with pytest.raises(UsageError, match=r"that are not heartbeat's"):
        planned(target, order(watchdog=False))
    carry_out(target, None)
    assert {path.name for path in units.iterdir()} == {"heartbeat.service", f"{SAME_NAME}.service"}


@pytest.mark.parametrize("name", FILES[Style.DUE])
@pytest.mark.parametrize("verb", [Verb.ADD, Verb.CHANGE, Verb.REMOVE])
def test_what_somebody_puts_there_while_it_is_thought_out_stays(
    verb: Verb, name: str, commands: FakeSchedulers, units: Path
) -> None:
    target = target_of(commands, units)
    if verb is Verb.ADD:
        steps = planned(target, order())
    else:
        carry_out(target, order())
        (units / name).write_text((units / name).read_text() + "# changed\n")
        steps = planned(target, order() if verb is Verb.CHANGE else None)
    assert verb in {step.verb for step in steps if step.name == name}
    (units / name).unlink(missing_ok=True)
    (units / name).write_bytes(THEIRS)
    commands.forget_calls()
    applied = {each.change.name: each for each in target.apply(steps)}
    assert applied[name].error == f"{units / name} is not heartbeat's, and stays as it is"
    assert [each for each in applied if applied[each].error] == [name]
    assert (units / name).read_bytes() == THEIRS
    assert not [call for call in commands.calls("systemctl") if f" {name} " in f"{call} "]
