"""`heartbeat cron install|show|diff|remove` as a user sees it, on a crontab and a systemd that are scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.schedule.crontab import find_blocks
from tests.support.command import Result, heartbeat, tree
from tests.support.fake_schedulers import FakeSchedulers, fake_schedulers

MINE = b"SHELL=/bin/bash\n# \xff\n5 4 * * * mine\n"


@pytest.fixture
def commands(tmp_path: Path) -> FakeSchedulers:
    return fake_schedulers(tmp_path / "bin")


@pytest.fixture
def cron(team: Path, commands: FakeSchedulers):
    """Runs `heartbeat cron …` in the sample team."""

    def run(*words: str, **environment: str) -> Result:
        return heartbeat("cron", *words, cwd=team, **{"PATH": commands.path, **environment})

    return run


def units(team: Path) -> set[str]:
    return {path.name for path in (team / ".config" / "systemd" / "user").glob("*")}


def test_install_show_diff_and_remove(cron, commands: FakeSchedulers, team: Path) -> None:
    commands.put_table(MINE)
    installed = cron("install")
    assert (installed.code, installed.out.endswith(": added\n")) == (0, True)
    assert commands.table is not None
    assert commands.table.endswith(MINE)
    (block,) = find_blocks(commands.table)
    assert f"--roster {team}/agents.yaml tick --due --scheduled\n" in block.text
    assert f"exec >>{team}/state/log/beats.log 2>&1; " in block.text
    (log,) = (team / ".local" / "state" / "heartbeat" / "watchdog").iterdir()
    assert f"exec >>{log}/watchdog.log 2>&1; " in block.text
    assert " watchdog --scheduled\n" in block.text
    again = cron("install")
    assert (again.code, again.out) == (0, "crontab: nothing changed\n")
    shown = cron("show")
    assert shown.code == 0
    assert "crontab         due; everybody; watchdog\n" in shown.out
    assert "systemd-user    nothing\n" in shown.out
    assert f"{team}/state/log/beats.log, {log}/watchdog.log" in shown.out
    assert "coo        every 10m  " in shown.out
    assert cron("diff").code == 0
    removed = cron("remove")
    assert (removed.code, removed.out.endswith(": removed\n")) == (0, True)
    assert commands.table == MINE
    assert (cron("remove").code, cron("remove").out) == (0, "nothing is on schedule\n")


def test_diff_prints_a_unified_diff_and_exits_1(cron, commands: FakeSchedulers) -> None:
    first = cron("diff")
    assert first.code == 1
    assert first.out.startswith("--- crontab: crontab block ")
    assert "\n+* * * * * [ -d " in first.out
    assert commands.table is None
    cron("install", "--no-watchdog")
    assert cron("diff").out == ""
    second = cron("diff", "--each")
    assert second.code == 1
    assert "\n-* * * * * [ -d " in second.out
    assert cron("diff", "--watchdog").code == 1


def test_what_is_installed_with_options_is_compared_with_the_same_options(cron) -> None:
    for words in (("--each", "--no-watchdog"), ("--due", "--watchdog", "coo"), ("--watchdog-only",)):
        cron("remove")
        assert cron("install", *words).code == 0
        done = cron("diff")
        assert (done.code, done.out) == (0, ""), words
        assert "cron diff" not in cron("show").out


def test_install_keeps_what_is_not_said(cron, commands: FakeSchedulers) -> None:
    cron("install", "--each", "--no-watchdog", "coo", "architect")
    assert cron("install").out == "crontab: nothing changed\n"
    assert cron("install", "costcodev").code == 0
    (block,) = find_blocks(commands.table or b"")
    assert block.note is not None
    assert (block.note.style, block.note.agents, block.note.watchdog) == (
        "each",
        ("coo", "architect", "costcodev"),
        False,
    )
    cron("install", "--all", "--due")
    (block,) = find_blocks(commands.table or b"")
    assert block.note is not None
    assert (block.note.style, block.note.agents) == ("due", ())


def test_a_dry_run_changes_nothing_and_exits_0(cron, commands: FakeSchedulers, team: Path) -> None:
    before = tree(team)
    done = cron("install", "--dry-run")
    assert done.code == 0
    assert done.out == cron("diff").out
    assert tree(team) == before
    assert commands.table is None
    cron("install")
    assert cron("remove", "--dry-run").code == 0
    assert commands.table is not None


def test_a_new_agent_in_the_roster_is_a_difference_for_each_and_none_for_due(cron, team: Path) -> None:
    roster = team / "agents.yaml"
    for style, code in (("--due", 0), ("--each", 1)):
        cron("install", style)
        before = roster.read_text()
        roster.write_text(f"{before}\n  newcomer: {{class: business, notify: []}}\n")
        assert cron("diff").code == code
        assert ("cron diff" in cron("show").out) == bool(code)
        roster.write_text(before)


def test_a_second_schedule_at_another_target_is_refused(cron, commands: FakeSchedulers, team: Path) -> None:
    assert cron("install", "coo").code == 0
    refused = cron("install", "--target", "systemd", "--user")
    assert refused.code == 2
    assert "crontab has the beats of coo on schedule already" in refused.err
    assert "heartbeat cron remove --target crontab" in refused.err
    assert units(team) == set()
    assert cron("install", "--target", "systemd", "--user", "architect").code == 0
    assert cron("install", "--watchdog-only", "--target", "crontab").code == 0
    assert cron("remove", "--target", "systemd", "--user").code == 0
    assert units(team) == set()
    assert commands.table is not None


def test_a_watchdog_beside_another_targets_beats_is_no_second_schedule(cron, team: Path) -> None:
    assert cron("install", "--daemon", "--user", "--no-watchdog").code == 0
    assert units(team) == {"heartbeat.service"}
    assert cron("install", "--watchdog-only", "--target", "crontab").code == 0
    shown = cron("show")
    assert "crontab         watchdog\n" in shown.out
    assert "systemd-user    daemon; everybody\n" in shown.out
    assert cron("diff").code == 0
    assert cron("remove").code == 0
    assert "nothing" in cron("remove").out


def test_the_target_that_has_the_beats_is_the_one_that_is_meant(cron, commands: FakeSchedulers, team: Path) -> None:
    assert cron("install", "--target", "systemd", "--user").code == 0
    assert cron("install", "--each").code == 0
    assert "heartbeat@coo.timer" in units(team)
    assert commands.table is None


def test_without_systemd_the_files_are_written_and_the_rest_is_said(cron, commands: FakeSchedulers, team: Path) -> None:
    commands.set("no.bus")
    done = cron("install", "--target", "systemd", "--user")
    assert done.code == 73
    assert "not added: " in done.out
    assert "Failed to connect to bus" in done.out
    assert "systemctl --user daemon-reload && systemctl --user enable --now heartbeat.timer" in done.err
    assert "heartbeat.timer" in units(team)
    cron("remove")
    done = cron("install", "--target", "systemd", "--user", "--no-start")
    assert done.code == 0
    assert "left to run: systemctl --user daemon-reload" in done.err


def test_without_a_crontab_command_the_package_is_named(team: Path, tmp_path: Path) -> None:
    done = heartbeat("cron", "install", cwd=team, PATH=str(tmp_path))
    assert done.code == 2
    assert "no command `crontab`" in done.err
    assert "apt-get install cron" in done.err
    shown = heartbeat("cron", "show", cwd=team, PATH=str(tmp_path))
    assert shown.code == 0
    assert "crontab         not found here\n" in shown.out


def test_a_damaged_table_is_refused_with_its_line_everywhere(cron, commands: FakeSchedulers) -> None:
    cron("install")
    damaged = b"\n".join((commands.table or b"").split(b"\n")[:-2]) + b"\n"
    commands.put_table(damaged)
    for words in (("install",), ("diff", "--target", "crontab"), ("remove", "--target", "crontab")):
        done = cron(*words)
        assert done.code == 2
        assert "the block that begins in line 1 does not end" in done.err
    assert "not known: the crontab cannot be changed" in cron("show").out
    assert commands.table == damaged


def test_a_table_that_was_changed_meanwhile_is_exit_73(cron, commands: FakeSchedulers) -> None:
    commands.put_table(MINE)
    commands.set("loses.writes")
    done = cron("install")
    assert done.code == 73
    assert "not added: the crontab is not what was written" in done.out


def test_an_agent_that_is_due_more_than_once_a_minute_is_said(cron, team: Path) -> None:
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text().replace("class: high_frequency", "class: high_frequency, every: 30s", 1))
    done = cron("install")
    assert done.code == 0
    assert "coo is due every 30s, and crontab starts its jobs once a minute at most" in done.err


def test_the_environment_file_is_named_in_the_schedule_and_never_read_into_it(
    cron, commands: FakeSchedulers, team: Path
) -> None:
    file = team / "environment"
    file.write_text("MULTICA_TOKEN=s3cr3t\n")
    file.chmod(0o600)
    done = cron("install", "--env-file", "environment", MULTICA_TOKEN="here")
    assert "MULTICA_TOKEN" not in done.err
    assert f"--env-file {file} tick".encode() in (commands.table or b"")
    assert b"s3cr3t" not in (commands.table or b"")
    done = cron("install", MULTICA_TOKEN="here")
    assert "set here, and not for a scheduled beat: MULTICA_TOKEN" in done.err
    assert "here" not in done.err.replace("set here", "")


def test_a_state_directory_from_the_environment_goes_into_the_schedule(
    cron, commands: FakeSchedulers, team: Path
) -> None:
    cron("install", HEARTBEAT_HOME=str(team / "elsewhere"))
    assert f" HEARTBEAT_HOME={team}/elsewhere ".encode() in (commands.table or b"")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("install", "ghost"), "no agent called 'ghost'"),
        (("install", "coo", "--all"), "--all and agent names do not go together"),
        (("install", "--due", "--each"), "--due and --each do not go together"),
        (("install", "--turn", "--target", "crontab"), "none of the style turn"),
        (("install", "--daemon", "--target", "crontab"), "none of the style daemon"),
        (("remove", "ghost"), "no agent called 'ghost'"),
    ],
)
def test_calls_that_mean_nothing_are_refused(words: tuple[str, ...], told: str, cron) -> None:
    done = cron(*words)
    assert done.code == 2
    assert told in done.err


def test_json_says_the_same(cron, commands: FakeSchedulers, team: Path) -> None:
    wanted = cron("diff", "--json")
    assert wanted.code == 1
    assert (wanted.json["differs"], wanted.json["changes"][0]["verb"]) == (True, "add")
    done = cron("install", "--json").json
    (change,) = done["changes"]
    assert (change["target"], change["verb"], change["done"], change["error"]) == ("crontab", "add", True, None)
    assert change["after"].encode() == commands.table
    assert done["launch"]["log"] == str(team / "state" / "log" / "beats.log")
    shown = cron("show", "--json").json
    targets = {each["name"]: each for each in shown["targets"]}
    assert (targets["crontab"]["style"], targets["crontab"]["everybody"], targets["crontab"]["watchdog"]) == (
        "due",
        True,
        True,
    )
    assert targets["systemd-user"]["style"] is None
    assert targets["openclaw"]["present"] is False
    assert [len(agent["next"]) for agent in shown["agents"]] == [3] * len(shown["agents"])
    assert cron("diff", "--json").json["differs"] is False


def test_hostile_text_in_the_block_does_not_reach_the_terminal(cron, commands: FakeSchedulers) -> None:
    cron("install")
    commands.put_table((commands.table or b"").replace(b"# each minute: beats", b"# \x1b]0;owned\x07 beats"))
    done = cron("diff")
    assert done.code == 1
    assert "\x1b" not in done.out


def test_remove_does_not_say_that_all_is_off_where_it_could_not_look(cron, commands: FakeSchedulers) -> None:
    assert cron("install").code == 0
    commands.set("crontab.refuses", "You (somebody) are not allowed to use this program")
    refused = cron("remove")
    assert (refused.code, refused.out) == (3, "nothing was removed\n")
    assert "may still have beats of this roster on schedule" in refused.err
    commands.unset("crontab.refuses")
    assert cron("remove").code == 0
