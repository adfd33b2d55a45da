"""`heartbeat tick --due` and `--scheduled`: what crontabs, timers and automations run (rules B2, B5)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from freezegun import freeze_time

from heartbeat.store.locks import try_exclusive
from tests.support.command import Result, heartbeat, tree
from tests.support.holders import heard

LINE = re.compile(r"(20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ) ([a-z]+) ([a-z-]+): (.*)")

# In the sample team coo has the slots 04:06, 04:16 …, architect 04:02, 04:17 … and costcodev 04:04, 04:19 ….


def at(time: str, *words: str, team: Path) -> Result:
    with freeze_time(f"2026-11-21T{time}Z"):
        return heartbeat(*words, cwd=team)


def lines(done: Result) -> list[tuple[str, ...]]:
    found = [LINE.fullmatch(line) for line in done.out.splitlines()]
    assert None not in found, done.out
    return [line.groups() for line in found if line]


def receipts(team: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = heartbeat("receipts", "--json", cwd=team).json["receipts"]
    return found


# Who is due.


def test_B2_whoever_never_beat_is_due_and_then_nobody_until_the_next_slot(team: Path) -> None:
    first = at("04:00:00", "tick", "--due", "--json", team=team)
    assert (first.code, first.json["schema"]) == (0, "heartbeat.ticks/1")
    assert [beat["agent"] for beat in first.json["ticks"]] == ["coo", "architect", "costcodev"]
    assert first.json["resting"] == []
    nobody = at("04:01:59", "tick", "--due", "--json", team=team)
    assert nobody.code == 0
    assert nobody.json == {
        "schema": "heartbeat.ticks/1",
        "ticks": [],
        "resting": [
            {"agent": "architect", "next_due": "2026-11-21T04:02:00.000Z"},
            {"agent": "costcodev", "next_due": "2026-11-21T04:04:00.000Z"},
            {"agent": "coo", "next_due": "2026-11-21T04:06:00.000Z"},
        ],
    }
    one = at("04:02:00", "tick", "--due", "--json", team=team)
    assert [beat["agent"] for beat in one.json["ticks"]] == ["architect"]
    assert one.json["ticks"][0]["receipt"]["slot"] == "2026-11-21T04:02:00.000Z"
    assert [each["agent"] for each in one.json["resting"]] == ["costcodev", "coo"]


@pytest.mark.parametrize(("form", "hour", "zone"), [("table", "12", "CST"), ("md", "04", "UTC")])
def test_B2_for_people_it_says_who_is_next_and_when(team: Path, form: str, hour: str, zone: str) -> None:
    at("04:00:00", "tick", "--due", team=team)
    nobody = at("04:01:30", "tick", "--due", "--format", form, team=team)
    assert " ".join(nobody.out.split()) == (
        f"Nobody is due. Next: architect at 2026-11-21 {hour}:02:00 {zone} (in 30s), "
        f"costcodev at 2026-11-21 {hour}:04:00 {zone} (in 2m), coo at 2026-11-21 {hour}:06:00 {zone} (in 4m)"
    )
    two = at("04:04:00", "tick", "--due", "--format", form, team=team)
    assert two.out.endswith(f"\n\nNot due yet: coo at 2026-11-21 {hour}:06:00 {zone} (in 2m)\n")
    assert "Not due" not in at("04:20:00", "tick", "--due", "--format", form, team=team).out


def test_of_a_large_team_the_next_three_are_named(team: Path) -> None:
    roster = team / "agents.yaml"
    more = "".join(f"  extra{number}: {{class: business}}\n" for number in range(4))
    roster.write_text(roster.read_text() + more)
    for number in range(4):
        (team / "workspaces" / f"extra{number}").mkdir()
    at("04:00:00", "tick", "--due", team=team)
    nobody = at("04:00:30", "tick", "--due", team=team)
    assert nobody.out.count(" at 2026-") == 3
    assert nobody.out.endswith(", 4 more, --json has all\n")


def test_B2_named_agents_are_asked_alone(team: Path) -> None:
    at("04:00:00", "tick", "--due", "coo", team=team)
    assert [receipt["agent"] for receipt in receipts(team)] == ["coo"]
    nobody = at("04:01:00", "tick", "--due", "coo", "--json", team=team)
    assert [each["agent"] for each in nobody.json["resting"]] == ["coo"]


def test_due_of_all_is_due(team: Path) -> None:
    both = [at("04:00:00", "tick", "--due", *more, "--dry-run", "--json", team=team).out for more in ((), ("--all",))]
    assert both[0] == both[1]


def test_B3_a_dry_run_shows_who_would_beat_and_what_and_changes_nothing(team: Path) -> None:
    at("04:00:00", "tick", "--due", team=team)
    before = tree(team)
    shown = at("04:03:00", "tick", "--due", "--dry-run", "--json", team=team)
    assert [beat["agent"] for beat in shown.json["ticks"]] == ["architect"]
    assert shown.json["ticks"][0]["receipt"] is None
    assert [each["agent"] for each in shown.json["resting"]] == ["costcodev", "coo"]
    nobody = at("04:01:00", "tick", "--due", "--dry-run", team=team)
    assert nobody.out.startswith("Nobody is due. Next: architect")
    later = at("04:01:00", "tick", "--due", "--dry-run", "--at", "2026-11-21T04:05:00Z", "--json", team=team)
    assert [beat["agent"] for beat in later.json["ticks"]] == ["architect", "costcodev"]
    assert later.json["generated_at"] == "2026-11-21T04:05:00.000Z"
    assert tree(team) == before


def test_a_second_beat_in_a_slot_says_that_it_counts_for_none(team: Path) -> None:
    assert "its slot was answered before" not in at("04:00:00", "tick", "coo", team=team).out
    again = at("04:05:59", "tick", "coo", team=team)
    assert "its slot was answered before" in again.out
    newest, first = receipts(team)
    assert (newest["slot"], newest["late_seconds"]) == (None, None)
    assert (first["slot"], first["late_seconds"]) == ("2026-11-21T03:56:00.000Z", None)
    assert "one more in its slot" in heartbeat("receipts", cwd=team).out


def test_B2_misses_stand_among_the_receipts_and_in_the_beat_that_noted_them(team: Path) -> None:
    at("04:00:00", "tick", "coo", team=team)
    late = at("04:37:00", "tick", "coo", "--json", team=team)
    miss = {
        "agent": "coo",
        "first": "2026-11-21T04:06:00.000Z",
        "last": "2026-11-21T04:26:00.000Z",
        "count": 3,
        "reason": "coalesced",
        "noted_at": "2026-11-21T04:37:00.000Z",
    }
    assert late.json["missed"] == miss
    at("04:47:00", "tick", "coo", team=team)
    told = heartbeat("receipts", "--json", cwd=team).json
    assert told["misses"] == [miss]
    assert heartbeat("receipts", "--agent", "architect", "--json", cwd=team).json["misses"] == []
    newest_only = heartbeat("receipts", "--limit", "2", "--json", cwd=team).json
    assert (len(newest_only["receipts"]), newest_only["misses"]) == (2, [])
    shown = heartbeat("receipts", cwd=team).out.splitlines()
    order = [next(number for number, line in enumerate(shown) if text in line) for text in ("12:37", "12:06", "12:00")]
    assert order == sorted(order)
    assert (
        "missed 2 slots, 2026-11-21T04:56:00Z to 2026-11-21T05:06:00Z (coalesced)"
        in at("05:17:00", "tick", "coo", team=team).out
    )


# For schedulers.


def test_B5_one_line_an_agent_and_nothing_where_nobody_is_due(team: Path) -> None:
    first = at("04:00:00", "tick", "--due", "--scheduled", team=team)
    assert (first.code, first.err) == (0, "")
    assert lines(first) == [
        ("2026-11-21T04:00:00Z", "coo", "done", "2 in progress, 3 ready, 1 in review, 3 waiting"),
        ("2026-11-21T04:00:00Z", "architect", "done", "1 in progress, 2 ready"),
        ("2026-11-21T04:00:00Z", "costcodev", "done", "3 ready, 1 blocked, 2 waiting"),
    ]
    for words in (("--due",), ("--due", "coo"), ("--due", "--json"), ("--due", "--dry-run")):
        nobody = at("04:01:00", "tick", *words, "--scheduled", team=team)
        assert (nobody.code, nobody.out, nobody.err) == (0, "", "")


def test_B2_a_line_tells_lateness_from_a_minute_on_and_what_was_missed(team: Path) -> None:
    at("04:06:00", "tick", "coo", "--scheduled", team=team)
    in_time = at("04:17:00", "tick", "coo", "--scheduled", team=team)
    assert "late" not in in_time.out
    again = at("04:18:00", "tick", "coo", "--scheduled", team=team)
    assert lines(again)[0][3].endswith("; its slot was answered before")
    late = at("04:47:01", "tick", "coo", "--scheduled", team=team)
    told = "; 1m late; missed 2 slots, 2026-11-21T04:26:00Z to 2026-11-21T04:36:00Z (coalesced)"
    assert lines(late)[0][3].startswith("2 in progress, 3 ready, 1 in review, 3 waiting" + told)
    one = at("05:06:00", "tick", "coo", "--scheduled", team=team)
    assert "; missed 1 slot, 2026-11-21T04:56:00Z (coalesced)" in one.out


def test_B1_whoever_is_skipped_is_named_last_and_why(team: Path) -> None:
    with try_exclusive(team / "state" / "locks" / "coo.lock", purpose="tick") as lock:
        assert lock.held
        done = at("04:00:00", "tick", "--due", "--scheduled", team=team)
        alone = at("04:00:00", "tick", "coo", "--scheduled", team=team)
    assert done.code == alone.code == 0
    assert [(agent, outcome) for _, agent, outcome, _ in lines(done)] == [
        ("architect", "done"),
        ("costcodev", "done"),
        ("coo", "skipped"),
    ]
    assert f"another tick of coo is running (pid {os.getpid()} (tick)" in lines(done)[2][3]
    assert lines(alone)[0][:3] == ("2026-11-21T04:00:00Z", "coo", "skipped")


def test_S2_a_line_names_what_was_not_read_and_the_scheduler_hears_of_no_failure(team: Path) -> None:
    (team / "multica.json").unlink()
    done = at("04:00:00", "tick", "--due", "--scheduled", team=team)
    assert done.code == 0
    assert {outcome for _, _, outcome, _ in lines(done)} == {"degraded"}
    assert all("; multica failed (not_found)" in told for *_, told in lines(done))
    (team / "workboard.json").unlink()
    for name in ("coo", "architect", "costcodev"):
        (team / "workspaces" / name / "TODO.md").unlink(missing_ok=True)
    assert at("04:20:00", "tick", "--due", "--scheduled", team=team).code == 0


def test_a_line_is_one_line_whatever_a_title_holds(team: Path) -> None:
    board = json.loads((team / "workboard.json").read_text())
    for card in board["cards"]:
        card["title"] = f"\u001b[31m{card.get('title', '')}\n2026-11-21T04:00:00Z coo failed: forged"
    (team / "workboard.json").write_text(json.dumps(board))
    done = at("04:00:00", "tick", "--due", "--scheduled", team=team)
    assert [agent for _, agent, _, _ in lines(done)] == ["coo", "architect", "costcodev"]
    assert "\u001b" not in done.out


def test_json_is_one_document_a_call_and_none_where_nobody_is_due(team: Path) -> None:
    done = at("04:00:00", "tick", "--due", "--scheduled", "--json", team=team)
    assert done.json["schema"] == "heartbeat.ticks/1"
    one = at("04:01:00", "tick", "coo", "--scheduled", "--json", team=team)
    assert (one.json["schema"], one.json["receipt"]["slot"]) == ("heartbeat.tick/1", None)


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda team: (team / "agents.yaml").write_text("agents: [\n"), "agents.yaml:2:1"),
        (lambda team: (team / "agents.yaml").unlink(), "agents.yaml"),
        (lambda team: (team / "agents.yaml").write_text("agents:\n  coo: {clas: x}\n"), "agents.yaml:2:"),
    ],
)
def test_B5_a_wrong_roster_is_told_and_is_no_failure_to_a_scheduler(team: Path, break_it: object, told: str) -> None:
    break_it(team)  # type: ignore[operator]
    roster = str(team / "agents.yaml")
    done = heartbeat("--roster", roster, "tick", "--due", "--scheduled", cwd=team)
    assert (done.code, done.out) == (0, "")
    assert told in done.err
    assert heartbeat("--roster", roster, "tick", "--due", cwd=team).code == 2


def test_B5_an_agent_that_left_the_roster_is_told_and_is_no_failure(team: Path) -> None:
    done = heartbeat("tick", "gone", "--scheduled", cwd=team)
    assert (done.code, done.out) == (0, "")
    assert "no agent called 'gone'" in done.err


def test_B5_what_cannot_be_mended_by_the_next_beat_is_a_failure(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (team / "state").write_text("a file")
    assert heartbeat("tick", "--due", "--scheduled", cwd=team).code == 4
    (team / "state").unlink()

    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr("heartbeat.observation.assess", broken)
    done = heartbeat("tick", "--due", "--scheduled", cwd=team)
    assert done.code == 70
    assert "a bug: RuntimeError: no luck" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--due", "--scheduled", "--strict"), "--strict and --scheduled do not go together"),
        (("--due", "--all", "coo"), "--all and agent names do not go together"),
        (("--due", "--at", "2026-11-21T04:00:00Z"), "add --dry-run"),
        (("coo", "--scheduled", "--at", "2026-11-21T04:00:00Z"), "add --dry-run"),
        (("--scheduled",), "no agent to beat for"),
        (("--scheduled", "--frobnicate"), "--frobnicate"),
    ],
)
def test_B5_a_call_that_means_nothing_exits_2(team: Path, words: tuple[str, ...], told: str) -> None:
    """Whoever writes a schedule sees it at the first try; no later beat would make it better."""
    done = heartbeat("tick", *words, cwd=team)
    assert done.code == 2
    assert told in done.err
    assert receipts(team) == []


def scheduled(team: Path, shell: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a shell that does something to its streams, with a bare environment."""
    command = f"'{sys.executable}' -m heartbeat --roster '{team}/agents.yaml' tick --due --scheduled"
    return subprocess.run(
        ["sh", "-c", shell.replace("HEARTBEAT", command)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(team)},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "shell", ["HEARTBEAT >&-", "HEARTBEAT <&- >&- 2>&-", "HEARTBEAT >/dev/null 2>&-", "HEARTBEAT --json >&-"]
)
def test_it_works_where_nobody_listens(team: Path, shell: str) -> None:
    done = scheduled(team, shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(receipts(team)) == 3


@pytest.mark.parametrize("more", ["", "--json"])
def test_a_reader_that_goes_away_makes_no_failure(team: Path, more: str) -> None:
    command = [sys.executable, "-m", "heartbeat", "--roster", str(team / "agents.yaml"), "tick", "--due", "--scheduled"]
    child = subprocess.Popen([*command, *more.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.close()
    _, complaints = child.communicate(timeout=60)
    assert (child.returncode, complaints) == (0, b"")
    assert len(receipts(team)) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_B5_a_log_that_cannot_be_written_is_a_failure_and_the_beats_are_on_record(team: Path) -> None:
    done = scheduled(team, "HEARTBEAT >/dev/full")
    assert done.returncode == 73
    assert b"the output could not be written: No space left on device" in done.stderr
    assert len(receipts(team)) == 3


def test_a_scheduler_that_ends_it_finds_that_on_record(team: Path) -> None:
    """systemd's TERM at shutdown, in the middle of a read."""
    fifo = team / "asked"
    os.mkfifo(fifo)
    (team / "bin").mkdir()
    program = team / "bin" / "openclaw"
    program.write_text(f"#!/bin/sh\necho reading > {fifo}\nsleep 60\n")
    program.chmod(0o755)
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text().replace("{transport: file, path: workboard.json}", "{transport: cli}"))
    command = [sys.executable, "-m", "heartbeat", "--roster", str(roster), "tick", "coo", "--scheduled"]
    environment = {"PATH": f"{team / 'bin'}:/usr/bin:/bin", "HOME": str(team)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        assert heard(fifo) == "reading\n"
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM
    (receipt,) = receipts(team)
    told = "ended by SIGTERM before it was done; the next beat takes its place"
    assert (receipt["outcome"], receipt["reasons"], receipt["slot"]) == ("interrupted", [told], None)
    program.write_text("#!/bin/sh\nexit 1\n")
    again = heartbeat("tick", "--due", "coo", "--scheduled", cwd=team)
    assert [each[1] for each in lines(again)] == ["coo"], "its slot is still open"
    assert heartbeat("tick", "--due", "coo", "--scheduled", cwd=team).out == ""
    assert [each["outcome"] for each in receipts(team)] == ["degraded", "interrupted"]
    (standing,) = heartbeat("health", "--json", "coo", cwd=team).json["agents"]
    assert standing["status"] != "failing"


@pytest.mark.parametrize("name", ["daemon", "outbox"])
def test_an_agent_may_be_called_like_something_of_ours(team: Path, name: str) -> None:
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text().replace("costcodev", name))
    done = at("04:05", "tick", name, "--scheduled", team=team)
    assert done.code == 0, done.err
    assert [told[1] for told in lines(done)] == [name]
    assert "another" not in done.out + done.err


def test_who_has_left_the_roster_does_not_stop_the_beats_of_the_others(team: Path) -> None:
    done = at("04:05", "tick", "--due", "--scheduled", "architect", "gone", team=team)
    assert done.code == 0
    assert [told[1] for told in lines(done)] == ["architect"]
    assert "no agent called 'gone' any more" in done.err


def test_a_scheduled_tick_ends_well_where_its_complaint_cannot_be_written(team: Path) -> None:
    command = [sys.executable, "-m", "heartbeat", "tick", "nobody", "--scheduled"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=team, stderr=full, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0


def test_S2_a_beat_that_read_nothing_does_not_say_that_there_is_nothing_to_do(team: Path) -> None:
    text = (team / "agents.yaml").read_text()
    (team / "agents.yaml").write_text(re.sub(r"(?m)^sources:\n(  .*\n)+", SILENT, text))
    done = at("04:05", "tick", "coo", "--scheduled", team=team)
    assert done.code == 0, done.err
    assert "what there is to do is not known" in lines(done)[0][3]


SILENT = "sources:\n  workboard: {transport: gateway, url: 'ws://127.0.0.1:9/', timeout: 2s}\n"
