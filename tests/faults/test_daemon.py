"""The daemon as a real process: signals, systemd's protocol, a second one, kill -9 and SIGSTOP (rules B1, B2)."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from heartbeat.store.locks import try_exclusive
from heartbeat.store.opening import open_store_read_only
from tests.support.child import PATIENCE
from tests.support.daemon_child import Team

EVERY = timedelta(seconds=0.5)
QUICK = {"HEARTBEAT_TEST_QUICK": "1"}


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


# Systemd.


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        ears.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        ears.settimeout(PATIENCE)
        yield ears


def hear(ears: socket.socket, *wanted: str) -> list[str]:
    """Every datagram up to the first one that says all of this."""
    heard = [ears.recv(65536).decode()]
    while not all(word in heard[-1] for word in wanted):
        heard.append(ears.recv(65536).decode())
    return heard


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_hears_of_the_start_the_reload_the_end_and_that_all_is_well_within_a_long_beat(
    team: Team, kind: str
) -> None:
    address = str(team.folder / "notify") if kind == "path" else f"@heartbeat-test-{os.getpid()}"
    team.save(every="60s")
    team.hold()
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}
    with listening(address) as ears, team.daemon(**environment) as daemon:
        heard = hear(ears, "READY=1")
        assert not [said for said in heard if said.startswith("WATCHDOG")]
        assert heard.count("EXTEND_TIMEOUT_USEC=60000000") == 4, "before each scheduler is asked for its beats"
        assert daemon.until("reading")[-1] == "reading", "nobody inherits the socket"
        for _ in range(3):
            hear(ears, "WATCHDOG=1")
        team.let_go()
        daemon.until("writer done")
        assert hear(ears, "STATUS=")[-1].startswith("STATUS=coo, writer; next ")
        daemon.signal(signal.SIGHUP)
        assert hear(ears, "RELOADING=1", "MONOTONIC_USEC=")
        assert hear(ears, "READY=1")
        daemon.signal(signal.SIGTERM)
        assert hear(ears, "STOPPING=1")
        assert daemon.end() == 0


# Orders.


def test_SIGTERM_lets_the_running_beat_come_to_its_end(team: Team) -> None:
    team.save(every="60s")
    team.hold()
    with team.daemon() as daemon:
        daemon.until("reading")
        daemon.signal(signal.SIGTERM)
        team.let_go()
        lines = daemon.until("the daemon ends (SIGTERM) after 2 beats")
        assert [line.split()[1:3] for line in lines[:2]] == [["coo", "done:"], ["writer", "done:"]]
        assert daemon.end() == 0
    assert [receipt.outcome for receipt in team.receipts()] == ["done"]
    assert [len(team.log(action)) for action in ("daemon-started", "daemon-ended")] == [1, 1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_breaks_the_beat_off_and_that_is_on_record(team: Team, number: signal.Signals) -> None:
    team.save(every="60s")
    team.hold()
    with team.daemon(**QUICK) as daemon:
        daemon.until("reading")
        daemon.signal(number)
        daemon.until(f"{number.name}: the beat of coo, writer ends first; once more, and it is broken off")
        daemon.signal(number)
        assert daemon.end() == 128 + number
    assert [(receipt.outcome, receipt.reasons) for receipt in team.receipts()] == [
        ("interrupted", (f"ended by {number.name} before it was done; the next beat takes its place",))
    ]


def test_SIGHUP_and_a_saved_file_change_the_team_and_mistakes_change_nothing(team: Team) -> None:
    with team.daemon(**QUICK) as daemon:
        daemon.until("writer done")
        team.save("coo", "scout")
        daemon.signal(signal.SIGHUP)
        lines = daemon.until("scout done")
        assert any("the roster was read anew; added: scout; removed: writer" in line for line in lines)
        (team.folder / "agents.yaml").rename(team.folder / "agents.yaml.good")
        team.save(text="agents:\n  coo: {class: nonsense}\n")
        lines = daemon.until("agents.yaml:2:")
        assert any("the roster is refused, and the earlier one stays in use" in line for line in lines)
        daemon.until("scout done")
        team.save(text=(team.folder / "agents.yaml.good").read_text().replace("state: state", "state: elsewhere"))
        daemon.until("names another state directory now")
        daemon.until("scout done")
        team.save("coo", "writer")
        daemon.until("the roster was read anew; added: writer; removed: scout")
        daemon.until("writer done")
        daemon.signal(signal.SIGTERM)
        assert daemon.rest()[-1].endswith("beats")
        assert daemon.end() == 0
    assert [len(team.log(action)) for action in ("roster-refused", "roster-reloaded")] == [2, 2]


def test_a_terminal_that_is_gone_ends_the_daemon_like_any_program(team: Team) -> None:
    team.save(every="60s")
    master, slave = os.openpty()
    with team.daemon(HEARTBEAT_TEST_TERMINAL=os.ttyname(slave)) as daemon:
        os.close(slave)
        daemon.until("writer done")
        os.close(master)
        daemon.until("the daemon ends (SIGHUP)")
        assert daemon.end() == 0


def test_under_nohup_the_daemon_outlives_its_terminal(team: Team) -> None:
    team.save(every="60s")
    master, slave = os.openpty()
    with team.daemon(HEARTBEAT_TEST_TERMINAL=os.ttyname(slave), HEARTBEAT_TEST_NOHUP="1") as daemon:
        os.close(slave)
        daemon.until("writer done")
        os.close(master)
        daemon.until("the roster was read anew; nothing changes")
        daemon.signal(signal.SIGTERM)
        daemon.until("the daemon ends (SIGTERM)")
        assert daemon.end() == 0


@pytest.mark.parametrize("ignored", [True, False])
def test_a_single_beat_outlives_its_terminal_under_nohup_alone(team: Team, ignored: bool) -> None:
    team.hold()
    nohup = {"HEARTBEAT_TEST_NOHUP": "1"} if ignored else {}
    with team.command("tick", "coo", "--scheduled", **nohup) as beat:
        beat.until("reading")
        beat.signal(signal.SIGHUP)
        if ignored:
            team.let_go()
        assert beat.end() == (0 if ignored else 128 + signal.SIGHUP)


def test_a_link_that_is_turned_takes_no_memory_away_from_the_daemon(team: Team) -> None:
    current = team.folder / "current"
    for release in ("1", "2"):
        (team.folder / "releases" / release).mkdir(parents=True)
        roster = (team.folder / "agents.yaml").read_text().replace("state: state\n", "")
        (team.folder / "releases" / release / "agents.yaml").write_text(roster)
    current.symlink_to("releases/1")
    with team.command("run", "--jitter", "0s", "--roster", "current/agents.yaml", **QUICK) as daemon:
        daemon.until("writer done")
        (team.folder / "next").symlink_to("releases/2")
        (team.folder / "next").replace(current)
        lines = daemon.until("the roster was read anew; nothing changes")
        assert any("leads to another place now" in line and "(`state:`)" in line for line in lines)
        lines = [*daemon.until("coo done"), *daemon.until("coo done")]
        assert not [line for line in lines if "failed" in line or "is gone" in line]
        daemon.signal(signal.SIGTERM)
        assert daemon.end() == 0
    home = team.folder / ".local" / "state" / "heartbeat"
    assert len(list(home.glob("*/state.db"))) == 1


def test_a_log_that_cannot_be_written_stops_no_beat(team: Team) -> None:
    with Path("/dev/full").open("wb") as full, team.daemon(output=full.fileno()) as daemon:
        while len(team.receipts()) < 3:
            team.call("receipts")
        daemon.signal(signal.SIGTERM)
        assert daemon.end() == 0


# Two of them.


def test_B1_there_is_one_daemon_a_state_and_death_makes_room(team: Team) -> None:
    team.save(every="1h")
    with team.daemon() as first:
        first.until("writer done")
        code, said = team.call("run")
        assert code == 2
        assert f"another daemon beats on this state already: pid {first.pid} (daemon)" in said
        assert "systemctl stop" in said
        assert team.call("tick", "--due", "--scheduled") == (0, "")
        first.kill()
        with team.daemon() as second:
            second.until("the daemon runs for coo, writer")
            second.signal(signal.SIGTERM)
            assert second.end() == 0
    assert len(team.receipts()) == 1


def overdue(path: Path) -> bool:
    with try_exclusive(path, fence=False) as lock:
        return lock.holder is not None and lock.holder.overdue is not None


def test_B1_a_daemon_that_was_stopped_within_a_beat_is_ended_by_whoever_needs_its_place(team: Team) -> None:
    with team.daemon(**QUICK) as stopped:
        stopped.until("writer done")
        team.hold()
        stopped.until("reading")
        stopped.signal(signal.SIGSTOP)
        (team.folder / "held").unlink()
        while not overdue(team.folder / "state" / "locks" / "_daemon.lock"):
            team.call("receipts")
        with team.daemon(**QUICK) as next_one:
            lines = next_one.until("coo done")
            assert any(f"pid {stopped.pid} (daemon)" in line and "it was ended (SIGKILL)" in line for line in lines)
        assert stopped.end() == -signal.SIGKILL
    (told,) = [entry for entry in team.log("fenced") if entry.details["lock"] == "_daemon.lock"]
    assert told.details["pid"] == stopped.pid
    assert "it was ended (SIGKILL)" in told.message


def test_B1_a_tick_goes_on_where_a_stopped_daemon_holds_its_agents(team: Team) -> None:
    with team.daemon(**QUICK) as stopped:
        team.hold()
        stopped.until("reading")
        stopped.signal(signal.SIGSTOP)
        (team.folder / "held").unlink()
        before = len(team.receipts())
        while len(team.receipts()) == before:
            code, said = team.call("tick", "--due", "--scheduled", **QUICK)
            assert code == 0
        assert f"pid {stopped.pid} (tick)" in said
        assert "coo done" in said
        assert stopped.end() == -signal.SIGKILL


CRONTAB = """#!/bin/sh
# A crontab that lies in a file.
case "$1" in
-l) cat {table} ;;
-r) : > {table} ;;
*) cat "$@" > {table} ;;
esac
"""


def test_there_is_no_daemon_beside_a_crontab_with_the_same_beats_unless_it_is_asked_for(team: Team) -> None:
    team.save(every="1h")
    table = team.folder / "table"
    table.write_text("")
    (team.folder / "crontab").write_text(CRONTAB.format(table=table))
    (team.folder / "crontab").chmod(0o755)
    code, said = team.call("cron", "install", "--target", "crontab")
    assert code == 0, said
    code, said = team.call("run")
    assert code == 2, said
    assert "crontab has the beats of everybody on schedule already" in said
    assert "heartbeat cron remove --target crontab" in said
    assert team.receipts() == []
    with team.daemon("--beside") as daemon:
        daemon.until("the daemon runs for coo, writer")
        daemon.signal(signal.SIGTERM)
        assert daemon.end() == 0


# Kill -9.


def test_B2_kill_9_at_any_time_loses_no_slot(team: Team) -> None:
    chance = random.Random(7)
    for number in range(4):
        with team.daemon() as daemon:
            for _ in range(chance.randrange(1, 3)):
                daemon.until("coo done")
            if number % 2:
                team.hold()
                daemon.until("reading")
            daemon.kill()
        if number % 2:
            (team.folder / "held").unlink()
            assert team.call("tick", "--due", "--scheduled")[0] == 0
    with open_store_read_only(team.folder / "state") as store:
        last = store.last_receipts()["coo"].started_at
    Event().wait((last + 3 * EVERY - datetime.now(UTC)).total_seconds())  # slots pass while nobody is there
    with team.daemon() as daemon:
        assert any("missed" in line for line in daemon.until("coo done"))
        daemon.until("coo done")
        daemon.signal(signal.SIGTERM)
        assert daemon.end() == 0
    slots = [receipt.slot for receipt in team.receipts() if receipt.slot is not None]
    assert len(slots) == len(set(slots))
    with open_store_read_only(team.folder / "state") as store:
        misses = store.misses("coo")
    slot = slots[0]
    while slot <= slots[-1]:
        assert slot in slots or any(miss.first <= slot <= miss.last for miss in misses), slot
        slot += EVERY
