"""The crontab as a scheduler: read, replaced as a whole, read back, and never over somebody else's head."""

from __future__ import annotations

import errno
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tzdata

from heartbeat.errors import UsageError
from heartbeat.install import crontab
from heartbeat.install.base import Order, Style, Verb, changes
from heartbeat.install.crontab import BACKUPS, CrontabTarget
from heartbeat.install.standing import NOTHING, AbsentError, Other, Standing
from heartbeat.schedule.crontab import LONGEST_COMMAND, find_blocks
from tests.support.fake_schedulers import FakeSchedulers, fake_schedulers
from tests.support.rosters import make_agent
from tests.support.schedules import make_launch, order, team

MINE = b"SHELL=/bin/bash\n5 4 * * * mine\n"


class Clock:
    """Moves by a second at every look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def commands(tmp_path: Path) -> FakeSchedulers:
    return fake_schedulers(tmp_path / "bin")


@pytest.fixture
def processes(tmp_path: Path) -> Path:
    """A /proc in which cron runs."""
    for pid, name in ((1, "init"), (7, "cron")):
        (tmp_path / "proc" / str(pid)).mkdir(parents=True)
        (tmp_path / "proc" / str(pid) / "comm").write_text(f"{name}\n")
    return tmp_path / "proc"


@pytest.fixture
def target(commands: FakeSchedulers, processes: Path, tmp_path: Path) -> CrontabTarget:
    return target_of(asked(tmp_path), commands, processes)


def target_of(wish: Order, commands: FakeSchedulers, processes: Path, zone: str = "UTC") -> CrontabTarget:
    return CrontabTarget(
        wish.roster,
        wish.launch,
        {"PATH": commands.path},
        clock=Clock(),
        zone_file=Path(tzdata.__file__).parent / "zoneinfo" / zone,
        processes=processes,
    )


def asked(folder: Path, style: Style = Style.DUE, agents: tuple[str, ...] = (), **words: bool) -> Order:
    state = folder / "state"
    return order(team(state=state), style, agents, launch=make_launch(state), **words)


def install(target: CrontabTarget, wish: Order) -> list[str]:
    """What was said; the changes are carried out."""
    pieces = target.installed(wish.launch)
    applied = target.apply(changes(pieces, target.wanted(wish, pieces)))
    return [each.error or each.advice for each in applied if each.error or each.advice]


def remove(target: CrontabTarget, wish: Order) -> list[str]:
    pieces = target.installed(wish.launch)
    applied = target.apply(changes(pieces, target.without(wish, pieces)))
    return [each.error for each in applied if each.error]


@pytest.mark.parametrize("table", [None, MINE, b"# a\r\n5 4 * * * x\\r\n", b"# \xff\n"])
def test_install_and_remove_leave_the_table_as_it_was(
    table: bytes | None, target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path
) -> None:
    if table is not None:
        commands.put_table(table)
    assert install(target, asked(tmp_path)) == []
    assert commands.table is not None
    assert commands.table.endswith(table or b"")
    assert len(find_blocks(commands.table)) == 1
    assert remove(target, asked(tmp_path)) == []
    assert commands.table == table


def test_the_second_install_writes_nothing(target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path) -> None:
    commands.put_table(MINE)
    install(target, asked(tmp_path))
    before = commands.table
    commands.forget_calls()
    pieces = target.installed(asked(tmp_path).launch)
    steps = changes(pieces, target.wanted(asked(tmp_path), pieces))
    assert [step.verb for step in steps] == [Verb.KEEP]
    assert target.apply(steps)[0].error == ""
    assert commands.calls("crontab") == ["-l"]
    assert commands.table == before


def test_what_stands_is_known_again(target: CrontabTarget, tmp_path: Path) -> None:
    for wish, standing in (
        (asked(tmp_path), Standing(Style.DUE, (), watchdog=True)),
        (asked(tmp_path, Style.EACH, watchdog=False), Standing(Style.EACH)),
        (asked(tmp_path, beats=False), Standing(None, (), watchdog=True)),
    ):
        install(target, wish)
        assert target.standing(target.installed(wish.launch)) == standing
    remove(target, asked(tmp_path))
    assert target.standing(target.installed(asked(tmp_path).launch)) == NOTHING


def test_named_agents_are_added_and_taken_off(target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path) -> None:
    def beats() -> list[str]:
        lines = (commands.table or b"").decode().splitlines()
        return [line.partition("--scheduled")[2] for line in lines if " tick " in line]

    install(target, asked(tmp_path, agents=("writer",)))
    assert beats() == [" writer"]
    install(target, asked(tmp_path, agents=("coo",)))
    assert beats() == [" coo writer"]
    remove(target, asked(tmp_path, agents=("writer",)))
    assert beats() == [" coo"]
    remove(target, asked(tmp_path, agents=("coo",)))
    assert commands.table is None


def test_each_agent_has_a_line_at_its_own_slots(commands: FakeSchedulers, processes: Path, tmp_path: Path) -> None:
    agents = (
        make_agent("coo", every=timedelta(minutes=15)),
        make_agent("odd", every=timedelta(minutes=25)),
        make_agent("clock", cron="0 9 * * 1-5"),
    )
    roster = team(*agents, state=tmp_path / "state", timezone="Asia/Shanghai")
    wish = order(roster, Style.EACH, launch=make_launch(tmp_path / "state"), watchdog=False)
    for zone, of_clock in (("Asia/Shanghai", "0 9 * * 1-5"), ("UTC", "* * * * *")):
        (piece,) = target_of(wish, commands, processes, zone).wanted(wish, ())
        lines = [line.split(" /usr/bin/env ") for line in piece.text.splitlines() if "/usr/bin/env" in line]
        fields = {line[1].split("--scheduled ")[1].split()[0]: line[0].split(" [ -d ")[0] for line in lines}
        assert fields == {"coo": "10-59/15 * * * *", "odd": "* * * * *", "clock": of_clock}


def test_a_style_that_ends_not_is_none_for_a_crontab(target: CrontabTarget, tmp_path: Path) -> None:
    for style in (Style.DAEMON, Style.TURN):
        with pytest.raises(UsageError, match=f"none of the style {style.value}"):
            target.wanted(asked(tmp_path, style), ())


def test_a_machine_without_a_crontab_is_told_which_package_brings_it(tmp_path: Path) -> None:
    wish = asked(tmp_path)
    with pytest.raises(AbsentError, match="no command `crontab`") as caught:
        CrontabTarget(wish.roster, wish.launch, {"PATH": str(tmp_path)}).installed(wish.launch)
    assert "apt-get install cron" in caught.value.advice


def test_what_crontab_refuses_is_said_in_its_words(
    target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path
) -> None:
    commands.set("crontab.refuses", "You (w) are not allowed to use this program (crontab)\n")
    with pytest.raises(UsageError, match=r"`crontab -l` refuses: You \(w\) are not allowed"):
        target.installed(asked(tmp_path).launch)


def test_a_table_that_somebody_changes_meanwhile_is_not_written_over(
    target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path
) -> None:
    commands.put_table(MINE)
    commands.set("other.writer", "1 1 1 1 1 theirs\n")
    (told,) = install(target, asked(tmp_path))
    assert "somebody else has changed the crontab meanwhile; nothing was written" in told
    assert commands.table == MINE + b"1 1 1 1 1 theirs\n"
    assert install(target, asked(tmp_path)) == []


def test_a_write_that_did_not_take_is_seen(target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path) -> None:
    commands.put_table(MINE)
    commands.set("loses.writes")
    (told,) = install(target, asked(tmp_path))
    assert "the crontab is not what was written; the previous table is in" in told


def test_a_refused_write_leaves_the_table(target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path) -> None:
    commands.put_table(b"# no newline at the end")
    (told,) = install(target, asked(tmp_path))
    assert "`crontab -` refuses: new crontab file is missing newline" in told
    assert commands.table == b"# no newline at the end"


def test_a_carriage_return_that_cannot_be_told_from_its_picture_is_refused(
    target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path
) -> None:
    commands.put_table(b"# a\n# b\r\n")
    commands.set("no.editor")
    with pytest.raises(UsageError, match=r"line 2 of the crontab holds a carriage return"):
        target.installed(asked(tmp_path).launch)


def test_the_previous_tables_are_kept_for_their_owner(
    target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path
) -> None:
    commands.put_table(MINE)
    install(target, asked(tmp_path))
    backups = tmp_path / "state" / "backups"
    (kept,) = backups.iterdir()
    assert kept.read_bytes() == MINE
    assert kept.stat().st_mode & 0o777 == 0o600
    assert backups.stat().st_mode & 0o777 == 0o700
    for _ in range(BACKUPS):
        remove(target, asked(tmp_path))
        install(target, asked(tmp_path))
    assert len(list(backups.iterdir())) == BACKUPS
    assert not kept.exists()


def test_the_directory_of_the_logs_is_there_before_the_first_line(target: CrontabTarget, tmp_path: Path) -> None:
    install(target, asked(tmp_path))
    assert (tmp_path / "state" / "log").stat().st_mode & 0o777 == 0o700


def test_a_state_directory_that_cannot_be_made_stops_it_before_the_table(
    target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("")
    (told,) = install(target, asked(tmp_path))
    assert "the crontab was not changed" in told
    assert commands.table is None


def test_a_table_that_nobody_reads_is_said(commands: FakeSchedulers, processes: Path, tmp_path: Path) -> None:
    (processes / "7" / "comm").write_text("bash\n")
    target = target_of(asked(tmp_path), commands, processes)
    (told,) = install(target, asked(tmp_path))
    assert told.startswith("no cron daemon runs on this machine")
    (processes / "1" / "comm").unlink()
    assert install(target_of(asked(tmp_path), commands, processes), asked(tmp_path, watchdog=False)) == []


def test_the_block_of_another_path_to_the_same_roster_is_replaced(
    commands: FakeSchedulers, processes: Path, tmp_path: Path
) -> None:
    (tmp_path / "agents.yaml").touch()
    (tmp_path / "link.yaml").symlink_to(tmp_path / "agents.yaml")
    for name in ("agents.yaml", "link.yaml"):
        launch = make_launch(tmp_path / "state", roster=tmp_path / name)
        wish = order(team(state=tmp_path / "state"), launch=launch)
        assert install(target_of(wish, commands, processes), wish) == []
    (block,) = find_blocks(commands.table or b"")
    assert block.note is not None
    assert block.note.roster == str(tmp_path / "link.yaml")


def test_two_rosters_do_not_fight(commands: FakeSchedulers, processes: Path, tmp_path: Path) -> None:
    wishes = [
        order(team(state=tmp_path / "state"), launch=make_launch(tmp_path / "state", roster=tmp_path / name))
        for name in ("a.yaml", "b.yaml")
    ]
    for wish in wishes:
        install(target_of(wish, commands, processes), wish)
    assert len(find_blocks(commands.table or b"")) == 2
    remove(target_of(wishes[0], commands, processes), wishes[0])
    (block,) = find_blocks(commands.table or b"")
    assert block.note is not None
    assert block.note.roster == str(tmp_path / "b.yaml")


def test_the_blocks_of_other_rosters_are_told_of(commands: FakeSchedulers, processes: Path, tmp_path: Path) -> None:
    wishes = [
        order(team(), style, agents, launch=make_launch(tmp_path / "state", roster=tmp_path / name))
        for name, style, agents in (("a.yaml", Style.DUE, ()), ("b.yaml", Style.EACH, ("coo",)))
    ]
    for wish in wishes:
        install(target_of(wish, commands, processes), wish)
    seen = target_of(wishes[0], commands, processes)
    seen.installed(wishes[0].launch)
    assert seen.others() == (Other(tmp_path / "b.yaml", Standing(Style.EACH, ("coo",), watchdog=True)),)


def test_an_assignment_that_came_above_the_block_is_a_difference_and_is_mended(
    target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path
) -> None:
    install(target, asked(tmp_path))
    written = commands.table or b""
    commands.put_table(b"SHELL=/usr/bin/fish\n" + written)
    (piece,) = target.installed(asked(tmp_path).launch)
    assert piece.text.endswith("# state: a SHELL=, CRON_TZ= or TZ= above counts for it\n")
    install(target, asked(tmp_path))
    assert commands.table == written + b"SHELL=/usr/bin/fish\n"
    (piece,) = target.installed(asked(tmp_path).launch)
    assert "# state:" not in piece.text


def test_one_agent_of_two_hundred_can_be_taken_off(commands: FakeSchedulers, processes: Path, tmp_path: Path) -> None:
    names = [f"agent-{number:03}" for number in range(200)]
    roster = team(*(make_agent(name) for name in names), state=tmp_path / "state")
    everybody, one = (
        order(roster, agents=agents, launch=make_launch(tmp_path / "state")) for agents in ((), names[7:8])
    )
    target = target_of(everybody, commands, processes)
    install(target, everybody)
    assert remove(target, one) == []
    lines = [line for line in (commands.table or b"").decode().splitlines() if " tick " in line]
    assert len(lines) > 1
    assert all(len(line.split(None, 5)[5]) <= LONGEST_COMMAND for line in lines)
    beaten = [name for line in lines for name in line.partition("--scheduled ")[2].split()]
    assert beaten == names[:7] + names[8:]
    standing = target.standing(target.installed(one.launch))
    assert standing == Standing(Style.DUE, tuple(beaten), watchdog=True)
    assert [
        step.verb for step in changes(target.installed(one.launch), target.without(one, target.installed(one.launch)))
    ] == [Verb.KEEP]


def test_what_is_taken_off_needs_no_room_and_makes_no_directory(
    target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.put_table(MINE)
    install(target, asked(tmp_path))
    pieces = target.installed(asked(tmp_path).launch)

    def full(*words: object) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "state" / "backups"))

    monkeypatch.setattr(crontab, "keep_copy", full)
    (applied,) = target.apply(changes(pieces, ()))
    assert (applied.error, commands.table) == ("", MINE)
    assert (
        applied.advice == f"no copy of the previous table was kept: {tmp_path}/state/backups: No space left on device"
    )
    (refused,) = target.apply(changes((), pieces))
    assert "the crontab was not changed" in refused.error
    assert refused.advice == "make room on that disk"


def test_what_is_taken_off_makes_no_state_directory(
    target: CrontabTarget, commands: FakeSchedulers, tmp_path: Path
) -> None:
    commands.put_table(MINE)
    install(target, asked(tmp_path))
    shutil.rmtree(tmp_path / "state")
    pieces = target.installed(asked(tmp_path).launch)
    (applied,) = target.apply(changes(pieces, ()))
    assert (applied.error, commands.table) == ("", MINE)
    assert "no copy of the previous table was kept" in applied.advice
    assert not (tmp_path / "state").exists()


def test_a_logs_directory_that_is_gone_is_told_and_made_anew_where_nothing_else_changes(
    target: CrontabTarget, tmp_path: Path
) -> None:
    install(target, asked(tmp_path))
    shutil.rmtree(tmp_path / "state" / "log")
    (told,) = target.remarks(target.installed(asked(tmp_path).launch))
    assert told.startswith(f"there is no {tmp_path}/state/log, ")
    assert install(target, asked(tmp_path)) == [f"made anew, for the logs: {tmp_path}/state/log"]
    assert (tmp_path / "state" / "log").is_dir()
    assert install(target, asked(tmp_path)) == []
    assert target.remarks(target.installed(asked(tmp_path).launch)) == ()


def test_that_nobody_reads_the_table_is_said_each_time(
    commands: FakeSchedulers, processes: Path, tmp_path: Path
) -> None:
    (processes / "7" / "comm").write_text("bash\n")
    target = target_of(asked(tmp_path), commands, processes)
    assert target.remarks(target.installed(asked(tmp_path).launch)) == ()
    for _ in range(2):
        (told,) = install(target, asked(tmp_path))
        assert told.startswith("no cron daemon runs on this machine")
    (told,) = target.remarks(target.installed(asked(tmp_path).launch))
    assert told.startswith("no cron daemon runs on this machine")


def test_a_path_that_lacks_crontab_does_not_hide_it(
    commands: FakeSchedulers, processes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = asked(tmp_path)
    install(target_of(wish, commands, processes), wish)
    monkeypatch.setattr(crontab, "USUAL_PLACES", (str(commands.folder), *os.defpath.split(os.pathsep)))
    elsewhere = CrontabTarget(wish.roster, wish.launch, {"PATH": str(tmp_path)}, processes=processes)
    assert elsewhere.standing(elsewhere.installed(wish.launch)) == Standing(Style.DUE, (), watchdog=True)
