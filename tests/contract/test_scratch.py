"""The one suite for monitor scratches: looked at, written, left alone, on OpenClaw fake and real (contract 5)."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import CannotWriteError, Exit
from heartbeat.render import RenderState
from heartbeat.sinks.notes import read_note
from heartbeat.sinks.survey import survey
from tests.contract.scratch_suite import AGENTS, POLLED, SWITCHED_OFF, UNMONITORED, OpenScratchCase, ScratchCase
from tests.real import scratch_cases
from tests.support import openclaw_scratch_cases

CASES: list[Any] = [*openclaw_scratch_cases.CASES, *scratch_cases.CASES]

OLDER = {"max_rounds": 7}
"""A policy with which another text is rendered."""


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ScratchCase]:
    opened: OpenScratchCase = request.param
    with opened(tmp_path) as case:
        yield case


def edited(text: str) -> str:
    """The block with a line that somebody wrote into it."""
    first, rest = text.split("\n", 1)
    return f"{first}\n先问我。\n{rest}"


def test_a_new_scratch_holds_what_the_roster_gives_and_is_written_once(case: ScratchCase) -> None:
    first = case.render("coo")
    assert (first.result.state, first.changed, first.backup) == (RenderState.CREATED, True, None)
    assert case.content("coo") == case.text("coo")
    again = case.render("coo")
    assert (again.result.state, again.changed, again.result.diff) == (RenderState.UNCHANGED, False, "")
    assert (case.writes, case.revision("coo")) == (1, 1)


def told_of(case: ScratchCase, agent: str) -> list[str]:
    """The remarks on an agent that has no file and no AGENTS.md."""
    roster = case.roster()
    with case.visit(agent) as seen:
        team = roster.chosen([agent])
        found = survey(team, {}, seen, seen.version, case.environment, command="heartbeat", state=case.state)
    return [remark.code for remark in found[agent]]


def test_B7_that_it_was_written_is_noted_so_that_a_rewriting_without_markers_is_seen(case: ScratchCase) -> None:
    case.put("coo", "- mine from the first day\n")
    assert told_of(case, "coo") == [], "it was never ours"
    case.render("coo", force=True)
    note = read_note(case.state, "coo")
    assert (note and note.revision) == case.scratch("coo")["currentRevision"]
    assert told_of(case, "coo") == []
    case.put("coo", "- I have finished everything\n")
    assert told_of(case, "coo") == ["scratch-overwritten"]
    case.put("coo", None)
    assert told_of(case, "coo") == ["scratch-overwritten"]
    case.render("coo")
    assert told_of(case, "coo") == []
    kept = read_note(case.state, "coo")
    assert (kept and kept.revision) == case.scratch("coo")["currentRevision"] != (note and note.revision)


def test_looking_writes_nothing_and_knows_who_is_polled_how_often(case: ScratchCase) -> None:
    with case.visit(*AGENTS) as seen:
        results = {result.agent_id: result for result in seen.results}
    assert case.writes == 0
    assert [result.agent_id for result in seen.results] == list(AGENTS)
    assert seen.version == "2026.9.6"
    assert {agent: results[agent].rhythm for agent in AGENTS} == {
        **dict.fromkeys(POLLED, "a model turn every 6h"),
        SWITCHED_OFF: "",
        UNMONITORED: "",
    }
    monitor = results["coo"].monitor
    assert monitor is not None
    assert (monitor.id, monitor.every) == (case.monitor("coo")["id"], timedelta(hours=6))


def test_an_agent_without_a_monitor_is_told_what_to_do_and_stops_nobody(case: ScratchCase) -> None:
    with case.visit(UNMONITORED, "architect") as seen:
        without, architect = seen.results
        assert case.state.exists() is False
        with pytest.raises(CannotWriteError, match=f"OpenClaw keeps no heartbeat monitor for {UNMONITORED}") as refused:
            seen.write(without, case.state)
        assert seen.write(architect, case.state).changed
    assert refused.value.exit_code == Exit.CANNOT_WRITE
    assert f"agents.entries.{UNMONITORED}.heartbeat" in refused.value.advice
    assert "--sink file" in refused.value.advice
    assert case.content("architect") == case.text("architect")


def test_a_monitor_that_is_off_is_written_with_a_warning(case: ScratchCase) -> None:
    written = case.render(SWITCHED_OFF)
    assert written.changed
    assert any("switched off" in warning for warning in written.result.warnings)
    assert case.content(SWITCHED_OFF) == case.text(SWITCHED_OFF)


def test_an_older_block_is_replaced_and_what_stands_around_it_stays(case: ScratchCase) -> None:
    around = "# 我的清单\r\n- 看邮箱\r\n", "\r\n以上由 heartbeat 生成。"
    older = case.text("coo", **OLDER).replace("\n", "\r\n")
    case.put("coo", f"{around[0]}{older}{around[1]}")
    plan = case.plan("coo")
    assert (plan.state, plan.ours, plan.problem) == (RenderState.UPDATED, True, "")
    assert "-## 轮次上限：7 轮" in plan.diff
    assert "--- monitor scratch of coo (as it is)" in plan.diff
    assert case.render("coo").changed
    assert case.content("coo") == f"{around[0]}{case.text('coo').replace(chr(10), chr(13) + chr(10))}{around[1]}"


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_a_blank_scratch_is_as_good_as_none(case: ScratchCase, content: str) -> None:
    case.put("coo", content)
    assert case.render("coo").result.state is RenderState.CREATED
    assert case.content("coo") == case.text("coo")


def test_a_scratch_that_was_taken_away_is_written_again(case: ScratchCase) -> None:
    case.put("coo", "once")
    case.put("coo", None)
    assert case.revision("coo") == 2
    assert case.render("coo").changed
    assert (case.content("coo"), case.revision("coo")) == (case.text("coo"), 3)


def test_an_edit_inside_the_block_is_left_alone_unless_forced_and_then_kept(case: ScratchCase) -> None:
    theirs = "看邮箱\n" + edited(case.text("coo"))
    case.put("coo", theirs)
    plan = case.plan("coo")
    assert (plan.state, plan.ours) == (RenderState.DRIFTED, True)
    with pytest.raises(
        CannotWriteError, match="monitor scratch of coo: it was edited inside the heartbeat block"
    ) as no:
        case.render("coo")
    assert "--force" in no.value.advice
    assert case.content("coo") == theirs
    assert case.writes == 0
    revision = case.scratch("coo")["currentRevision"]
    forced = case.render("coo", force=True)
    assert case.content("coo") == "看邮箱\n" + case.text("coo")
    assert forced.backup == case.state / "scratch-backups" / f"coo-r{revision}.md"
    assert forced.backup.read_text("utf-8") == theirs
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (forced.backup, forced.backup.parent)]
    assert modes == [0o600, 0o700]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("- 看邮箱\n", "it was not written by heartbeat"),
        ("<!-- heartbeat:begin agent=coo template=000000000000 digest=000000000000 -->\n", "without an end marker"),
    ],
)
def test_what_is_not_ours_is_left_alone_unless_forced_and_then_kept(case: ScratchCase, content: str, told: str) -> None:
    case.put("coo", content)
    assert (case.plan("coo").state, case.plan("coo").ours) == (RenderState.FOREIGN, False)
    with pytest.raises(CannotWriteError, match=told):
        case.render("coo")
    assert case.content("coo") == content
    forced = case.render("coo", force=True)
    assert case.content("coo") == case.text("coo")
    assert forced.backup is not None
    assert forced.backup.read_text("utf-8") == content


def test_the_block_of_another_agent_is_left_alone(case: ScratchCase) -> None:
    case.put("coo", case.text("architect"))
    assert case.plan("coo").ours is False
    with pytest.raises(CannotWriteError, match="it holds the block of agent architect, not of coo"):
        case.render("coo")
    assert case.content("coo") == case.text("architect")


def test_two_backups_of_one_revision_have_names_of_their_own(case: ScratchCase) -> None:
    backups = case.state / "scratch-backups"
    backups.mkdir(parents=True)
    case.put("coo", "mine")
    name = f"coo-r{case.scratch('coo')['currentRevision']}"
    (backups / f"{name}.md").write_text("of another monitor")
    assert case.render("coo", force=True).backup == backups / f"{name}.1.md"
    assert (backups / f"{name}.md").read_text() == "of another monitor"


def test_L6_what_somebody_writes_beside_the_block_meanwhile_stays(case: ScratchCase) -> None:
    case.put("coo", case.text("coo", **OLDER))
    theirs = "- 看邮箱\n" + case.text("coo", **OLDER)
    case.before_next_write(lambda: case.put("coo", theirs))
    written = case.render("coo")
    assert written.changed
    assert case.content("coo") == "- 看邮箱\n" + case.text("coo")
    assert case.revision("coo") == 3


def test_L6_what_somebody_writes_into_the_block_meanwhile_is_not_overwritten(case: ScratchCase) -> None:
    case.put("coo", case.text("coo", **OLDER))
    theirs = edited(case.text("coo", **OLDER))
    case.before_next_write(lambda: case.put("coo", theirs))
    with pytest.raises(CannotWriteError, match="it was edited inside the heartbeat block"):
        case.render("coo")
    assert case.content("coo") == theirs


def test_L6_where_somebody_wrote_the_same_meanwhile_nothing_is_left_to_do(case: ScratchCase) -> None:
    case.before_next_write(lambda: case.put("coo", case.text("coo")))
    assert case.render("coo").changed is False
    assert case.revision("coo") == 1


def test_L6_a_forced_write_keeps_what_came_between_too(case: ScratchCase) -> None:
    case.put("coo", "first")
    case.before_next_write(lambda: case.put("coo", "second"))
    written = case.render("coo", force=True)
    assert written.backup is not None
    assert written.backup.read_text() == "second"
    assert case.content("coo") == case.text("coo")


def test_L6_who_is_outrun_twice_gives_up_and_says_so(case: ScratchCase) -> None:
    def outrun_again() -> None:
        case.put("coo", "\n")
        case.before_next_write(lambda: case.put("coo", "\n\n"))

    case.before_next_write(outrun_again)
    with pytest.raises(CannotWriteError, match="not written: somebody else changed the scratch meanwhile") as outrun:
        case.render("coo")
    assert outrun.value.advice.startswith("run the command again")
    assert case.content("coo") == "\n\n"


def test_a_lost_answer_is_told_as_not_known_and_the_next_render_finds_out(case: ScratchCase) -> None:
    case.lose_next_answer()
    with pytest.raises(CannotWriteError, match="monitor scratch of coo: it is not known whether it was written"):
        case.render("coo")
    assert case.content("coo") == case.text("coo")
    assert case.render("coo").changed is False


def test_what_openclaw_would_not_take_is_not_sent(case: ScratchCase) -> None:
    older = case.text("coo", **OLDER)
    assert len(older.encode()) < len(case.text("coo").encode())
    case.put("coo", f"{'x' * (262_144 - len(older.encode()) - 1)}\n{older}")
    plan = case.plan("coo", force=True)
    assert plan.state is RenderState.UNWRITABLE
    assert plan.problem == f"monitor scratch of coo: {plan.size} bytes, and OpenClaw takes at most 262144"
    with pytest.raises(CannotWriteError):
        case.render("coo", force=True)
    assert case.writes == 0
    assert not case.state.exists()


def test_a_scratch_that_every_poll_pays_too_much_for_is_written_with_a_warning(case: ScratchCase) -> None:
    case.put("coo", f"{'长' * 2000}\n{case.text('coo', **OLDER)}")
    written = case.render("coo")
    assert written.changed
    (warning,) = written.result.warnings
    assert warning.startswith(f"monitor scratch of coo: {written.result.size} bytes, more than the 5120")
