"""What a scheduler's log says of each beat: one line, with what was done and under the names that people know."""

from __future__ import annotations

from pathlib import Path

from heartbeat.cli.scheduled import lines
from tests.stories.test_ladder_story import board, stuck, team
from tests.support.rosters import make_agent
from tests.support.scripted_writer import ScriptedWorld
from tests.support.team import Team


def said(staff: Team) -> dict[str, str]:
    """By agent, without the time."""
    tick = staff.beat()
    return {line.split()[1]: line.partition(": ")[2] for line in lines(tick, staff.now)}


def test_L1_L2_a_line_tells_the_nudge_the_recovery_and_what_was_sent(tmp_path: Path) -> None:
    staff = team(ScriptedWorld(board(stuck())), tmp_path)
    staff.tick()
    assert said(staff) == {"coo": "nothing to do", "writer": "1 in progress", "second": "nothing to do"}
    assert said(staff)["writer"] == "1 in progress; 1 message on top"
    (item,) = staff.world["workboard"].items.values()
    recovered = said(staff)
    assert recovered["writer"] == f"1 in progress; recover {item.key}: done"
    assert item.key != str(item.ref), "its name, and not its key"
    assert recovered["coo"] == "nothing to do; 1 message on top"
    assert recovered["second"] == "nothing to do"


def test_what_was_sent_for_all_stands_in_the_first_line(tmp_path: Path) -> None:
    staff = team(ScriptedWorld(board(*(stuck(number) for number in range(1, 6)))), tmp_path)
    staff.tick()
    told = [said(staff) for _ in range(8)]
    first = [line["coo"] for line in told]
    assert any("message sent" in line or "messages sent" in line for line in first)
    assert not any("sent" in line[name] for line in told for name in ("writer", "second"))


def test_a_rehearsal_says_that_it_is_one(tmp_path: Path) -> None:
    from heartbeat.beat import rehearse

    staff = Team(ScriptedWorld(board(stuck())), tmp_path, (make_agent("writer", notify=("self",)),))
    shown = rehearse(staff.observe(), list(staff.roster.agents.values()), staff.store)
    (line,) = lines(shown, staff.now)
    assert line == "2026-11-21T04:00:00Z writer dry-run: 1 in progress"
