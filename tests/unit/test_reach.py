"""Whether the instructions reach the agent: which text OpenClaw reads, what stands there, what became of the file."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heartbeat.render import RenderResult, RenderState
from heartbeat.render.managed import enclose
from heartbeat.sinks.migrated import Migrated
from heartbeat.sinks.notes import Note
from heartbeat.sinks.reach import FILE, SCRATCH, Facts, Remark, remarks
from heartbeat.sinks.scratch import ScratchResult, plan_scratch, unread, without_monitor
from heartbeat.systems.openclaw.scratch import Monitor, Scratch

NEW, OLD = "2026.9.6", "2026.7.31"
MONITOR = Monitor("coo", "job-1", enabled=True, every=timedelta(minutes=30))
BLOCK = enclose("做事\n", agent_id="coo", template_digest="1" * 12)
OLDER = enclose("从前\n", agent_id="coo", template_digest="0" * 12)
EDITED = BLOCK.replace("做事", "做别的事")
TAKEN = Migrated(Path("/state/backups/heartbeat-migration/coo-1.md"), datetime(2026, 11, 20, 8, tzinfo=UTC))
NOTE = Note(1, Path("/state/scratches/coo.json"))
TELLS = "每次心跳：运行 `heartbeat worklist coo`，然后照 HEARTBEAT.md 做。\n"
RENDER = "heartbeat render coo"


def file(before: str | None = BLOCK) -> RenderResult:
    """The plan for a file with this text."""
    after = f"{BLOCK}\n".encode()
    found = None if before is None else f"{before}\n".encode()
    state = RenderState.CREATED if found is None else RenderState.UPDATED
    if found == after:
        state = RenderState.UNCHANGED
    return RenderResult("coo", Path("/w/HEARTBEAT.md"), state, found, after, "", len(after), len(after))


def scratch(content: str | None = BLOCK, monitor: Monitor = MONITOR) -> ScratchResult:
    """The plan for a scratch with this text."""
    text = None if content is None else f"{content}\n"
    return plan_scratch("coo", BLOCK, monitor, Scratch(text, 0 if content is None else 1, 262_144))


def told(**known: object) -> tuple[Remark, ...]:
    facts = Facts("coo", NEW, file(), None, TELLS, None, "heartbeat")
    return remarks(replace(facts, **known))  # type: ignore[arg-type]


def codes(**known: object) -> list[str]:
    return [remark.code for remark in told(**known)]


def one(**known: object) -> Remark:
    (remark,) = told(**known)
    return remark


def test_a_file_that_the_agent_is_told_to_read_is_all_that_is_needed() -> None:
    assert told() == ()
    assert told(agents_md="", version=OLD) == (), "that version reads the file by itself"
    assert told(agents_md="", version=None) == (), "nothing is known of any OpenClaw"


def test_a_file_that_nothing_reads_is_told_with_both_ways_out() -> None:
    remark = one(agents_md="# 规则\n")
    assert (remark.code, remark.subject, remark.serious) == ("file-unread", FILE, True)
    assert remark.message == f"OpenClaw {NEW} does not read it by itself, and AGENTS.md does not mention it"
    assert "run `heartbeat worklist coo`" in remark.advice
    assert f"`{RENDER} --sink scratch`" in remark.advice
    assert "a model turn at every poll" in remark.advice


def test_a_scratch_that_holds_what_the_roster_gives_needs_neither_file_nor_agents_md() -> None:
    assert told(scratch=scratch(), agents_md="") == ()
    assert told(scratch=scratch(), agents_md="", file=file(None)) == ()
    assert told(scratch=scratch(), agents_md="", file=None) == ()


def test_a_file_that_agents_md_names_must_be_there_even_so() -> None:
    assert codes(scratch=scratch(), file=file(None)) == ["file-differs"]


@pytest.mark.parametrize(
    "seen", [None, scratch(None), scratch("他的清单"), without_monitor("coo"), unread("coo", "?", "!")]
)
def test_a_file_that_is_missing_is_told_where_no_scratch_serves(seen: ScratchResult | None) -> None:
    remark = one(file=file(None), scratch=seen)
    assert (remark.code, remark.message, remark.advice) == ("file-differs", "missing", RENDER)


def test_what_is_wrong_with_the_file_is_told_whatever_the_scratch_holds() -> None:
    assert one(file=file(OLDER)).message == "out of date"
    told_of_both = one(file=file(OLDER), scratch=scratch())
    assert told_of_both.message == "out of date; the monitor's scratch is up to date, and says something else"
    assert told_of_both.advice == RENDER
    refused = replace(file(OLDER), state=RenderState.FOREIGN, problem="/w: not ours", advice="--force")
    assert (one(file=refused).message, one(file=refused).advice) == ("/w: not ours", "--force")


def test_a_file_that_openclaw_took_while_its_scratch_is_up_to_date_is_no_trouble() -> None:
    remark = one(file=file(None), migrated=TAKEN, scratch=scratch(), agents_md="")
    assert (remark.code, remark.serious) == ("file-taken", False)
    assert "`openclaw doctor --fix` took it away (2026-11-20T08:00:00.000Z)" in remark.message
    assert str(TAKEN.copy) in remark.message
    assert "holds the same, and is up to date" in remark.message
    assert remark.advice == f"from now on `{RENDER} --sink scratch`"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (OLDER, "the monitor's scratch has its text, out of date"),
        (EDITED, "the monitor's scratch has its text, edited by hand inside the heartbeat block"),
        ("他的清单", "the monitor's scratch does not hold it any more"),
        (None, "the monitor's scratch does not hold it any more"),
    ],
)
def test_a_file_that_openclaw_took_into_a_scratch_that_is_not_as_it_should_be(
    content: str | None, message: str
) -> None:
    found = told(file=file(None), migrated=TAKEN, scratch=scratch(content), agents_md="")
    taken = found[0]
    assert (taken.code, taken.serious) == ("file-taken", True)
    assert message in taken.message
    assert f"{RENDER} --sink scratch" in taken.advice
    assert "scratch-differs" not in {remark.code for remark in found}, "said already"


def test_a_file_that_openclaw_took_although_agents_md_names_it() -> None:
    remark = one(file=file(None), migrated=TAKEN, scratch=scratch())
    assert (remark.code, remark.serious) == ("file-taken", True)
    assert "AGENTS.md tells the agent to read the file" in remark.message
    assert f"or the file again: `{RENDER}`" in remark.advice


def test_a_file_that_openclaw_took_where_the_scratch_was_not_looked_at() -> None:
    for seen in (None, unread("coo", "nobody answers", "start it")):
        assert "was not looked at" in told(file=file(None), migrated=TAKEN, scratch=seen)[0].message


def test_a_file_that_is_there_again_was_not_taken() -> None:
    assert codes(migrated=TAKEN) == []


@pytest.mark.parametrize("content", [OLDER, EDITED])
def test_file_and_scratch_that_say_different_things_are_told_with_the_mend(content: str) -> None:
    remark = one(scratch=scratch(content))
    assert (remark.code, remark.subject, remark.serious) == ("two-texts", SCRATCH, True)
    assert remark.message.startswith("HEARTBEAT.md and the scratch say different things: the scratch is ")
    assert remark.advice.startswith(f"`{RENDER} --sink scratch{'' if content is OLDER else ' --force'}`")


def test_file_and_scratch_that_are_equally_old_say_the_same() -> None:
    assert codes(file=file(OLDER), scratch=scratch(OLDER.replace("\n", "\r\n"))) == ["file-differs", "scratch-differs"]
    assert codes(file=file("手写"), scratch=scratch(OLDER)) == ["file-differs", "scratch-differs"]


def test_a_scratch_of_ours_alone_that_is_not_as_it_should_be() -> None:
    remark = one(scratch=scratch(OLDER), file=None)
    assert (remark.code, remark.message, remark.advice) == (
        "scratch-differs",
        "out of date",
        f"`{RENDER} --sink scratch`",
    )
    drifted = one(scratch=scratch(EDITED), file=None)
    assert "it was edited inside the heartbeat block" in drifted.message
    assert "--force" in drifted.advice


def test_a_scratch_that_somebody_else_wrote_is_theirs() -> None:
    assert told(scratch=scratch("- 看邮箱")) == ()
    assert codes(scratch=scratch("- 看邮箱"), agents_md="") == ["file-unread"]


def test_a_scratch_that_heartbeat_wrote_and_somebody_rewrote_is_told_although_no_marker_is_left() -> None:
    remark = one(scratch=scratch("- I have finished everything"), note=NOTE)
    assert (remark.code, remark.subject, remark.serious) == ("scratch-overwritten", SCRATCH, True)
    assert remark.message.startswith("heartbeat wrote it, and it was rewritten without our block")
    assert remark.advice == (
        f"`{RENDER} --sink scratch --force` (the old text is kept in the state directory); "
        "or, if it is meant so, delete /state/scratches/coo.json"
    )
    others = BLOCK.replace("agent=coo", "agent=dev")
    for damaged in (others, BLOCK.replace("heartbeat:end", "heartbeat:ende")):
        assert codes(scratch=scratch(damaged), note=NOTE) == ["scratch-overwritten"]


@pytest.mark.parametrize("content", [None, "", "  "])
def test_a_scratch_that_heartbeat_wrote_and_somebody_emptied_is_told_and_nothing_is_forced(content: str | None) -> None:
    remark = one(scratch=plan_scratch("coo", BLOCK, MONITOR, Scratch(content, 2, 262_144)), note=NOTE)
    assert (remark.code, remark.message) == ("scratch-overwritten", "heartbeat wrote it, and it is empty now")
    assert "--force" not in remark.advice


@pytest.mark.parametrize("content", ["- I have finished everything", OLDER, EDITED])
def test_who_is_served_by_the_scratch_is_not_told_to_render_a_file_that_nobody_reads(content: str) -> None:
    for file_there in (None, file(None)):
        (remark,) = told(scratch=scratch(content), note=NOTE, file=file_there, agents_md="")
        assert remark.subject == SCRATCH
        assert remark.advice.startswith(f"`{RENDER} --sink scratch")
    assert "file-differs" in codes(scratch=scratch(content), note=NOTE, file=file(None)), "AGENTS.md names it"


def test_a_scratch_that_holds_our_block_or_could_not_be_looked_at_was_not_overwritten() -> None:
    assert told(scratch=scratch(), note=NOTE) == ()
    assert told(scratch=unread("coo", "?", "!"), note=NOTE) == ()
    assert told(scratch=without_monitor("coo"), note=NOTE) == (), "gone with its monitor, which is nobody's edit"
    assert "scratch-overwritten" not in codes(scratch=scratch("- mine"), note=NOTE, file=file(None), migrated=TAKEN)


def test_what_cannot_work_without_a_monitor_is_never_advised() -> None:
    for known in ({"agents_md": ""}, {"agents_md": "", "file": file(None), "migrated": TAKEN}):
        remarks_told = told(scratch=without_monitor("coo"), **known)
        assert remarks_told
        assert all("--sink scratch" not in remark.advice for remark in remarks_told)
    assert "if it has one" in one(agents_md="", scratch=unread("coo", "?", "!")).advice


def test_a_monitor_that_is_off_reads_nothing_to_anybody() -> None:
    off = scratch(monitor=replace(MONITOR, enabled=False))
    assert codes(scratch=off) == ["monitor-off"]
    assert codes(scratch=off, agents_md="") == ["monitor-off", "file-unread"]
    assert codes(scratch=scratch(None, replace(MONITOR, enabled=False))) == [], "nothing of ours is in it"


def test_a_file_that_the_next_doctor_would_take_is_told_before() -> None:
    remark = one(scratch=scratch(None))
    assert (remark.code, remark.serious) == ("file-in-danger", False)
    assert "`openclaw doctor --fix` moves it" in remark.message
    unset = plan_scratch("coo", BLOCK, MONITOR, Scratch(None, 2, 262_144))
    assert told(scratch=unset) == (), "OpenClaw leaves the file where its scratch was emptied on purpose"
