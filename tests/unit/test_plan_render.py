"""From roster to files: what a plan says, what a write does (rules B7, I5). Temporary directories only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from heartbeat.errors import CannotWriteError, UsageError
from heartbeat.render import RenderResult, RenderState, plan_render, render_agent, write
from heartbeat.roster.model import Agent
from tests.support.rosters import make_agent, make_coo, make_roster


@pytest.fixture
def coo(tmp_path: Path) -> Agent:
    workspace = tmp_path / "coo"
    workspace.mkdir()
    return make_coo(workspace=workspace)


def file_of(agent: Agent) -> Path:
    assert agent.workspace is not None
    return agent.workspace / "HEARTBEAT.md"


def plan(agent: Agent, *, force: bool = False, template: Path | None = None, out: Path | None = None) -> RenderResult:
    (result,) = plan_render(make_roster(agent), [agent], force=force, template=template, out=out)
    return result


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_plan_touches_nothing(coo: Agent, tmp_path: Path) -> None:
    result = plan(coo)
    assert result.state is RenderState.CREATED
    assert result.differs
    assert names(file_of(coo).parent) == []
    plan(coo, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_new_file_is_created_and_then_unchanged(coo: Agent) -> None:
    written = write(plan(coo))
    assert (written.path, written.changed, written.backup) == (file_of(coo), True, None)
    assert file_of(coo).read_text("utf-8") == render_agent(make_roster(coo), coo)
    assert stat.S_IMODE(file_of(coo).stat().st_mode) == 0o644 & ~current_umask()
    again = plan(coo)
    assert (again.state, again.diff, again.differs) == (RenderState.UNCHANGED, "", False)
    before = file_of(coo).stat()
    assert not write(again).changed
    assert file_of(coo).stat() == before
    assert names(file_of(coo).parent) == ["HEARTBEAT.md"]


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_an_update_keeps_mode_and_everything_outside_the_block(coo: Agent) -> None:
    block = render_agent(make_roster(coo), make_coo(max_rounds=40))
    outside = "# 笔记\r\n".encode() + b"\xff"
    file_of(coo).write_bytes(outside + b"\n" + block.encode() + b"\n\nmine")
    file_of(coo).chmod(0o640)
    result = plan(coo)
    assert result.state is RenderState.UPDATED
    assert "-## 轮次上限：40 轮\n+## 轮次上限：50 轮\n" in result.diff
    write(result)
    assert file_of(coo).read_bytes() == outside + b"\n" + render_agent(make_roster(coo), coo).encode() + b"\n\nmine"
    assert stat.S_IMODE(file_of(coo).stat().st_mode) == 0o640


def test_a_block_edited_by_hand_is_drift_and_a_write_mends_it(coo: Agent) -> None:
    write(plan(coo))
    fresh = file_of(coo).read_bytes()
    file_of(coo).write_bytes(fresh.replace("50 轮".encode(), "500 轮".encode()))
    result = plan(coo)
    assert result.state is RenderState.DRIFTED
    assert result.problem == ""
    assert "-## 轮次上限：500 轮" in result.diff
    assert write(result).backup is None
    assert file_of(coo).read_bytes() == fresh


def test_a_file_that_is_not_ours_is_refused_and_left_alone(coo: Agent) -> None:
    file_of(coo).write_text("我手写的心跳\n", encoding="utf-8")
    result = plan(coo)
    assert result.state is RenderState.FOREIGN
    assert "it was not written by heartbeat" in result.problem
    assert "-我手写的心跳\n" in result.diff
    with pytest.raises(CannotWriteError, match=r"HEARTBEAT\.md: it was not written by heartbeat") as caught:
        write(result)
    assert "--force" in caught.value.advice
    assert file_of(coo).read_text("utf-8") == "我手写的心跳\n"
    assert names(file_of(coo).parent) == ["HEARTBEAT.md"]


def test_force_keeps_each_foreign_file_under_a_name_of_its_own(coo: Agent) -> None:
    for number, name in enumerate(("HEARTBEAT.md.bak", "HEARTBEAT.md.bak.1", "HEARTBEAT.md.bak.2")):
        file_of(coo).write_text(f"手写 {number}\n", encoding="utf-8")
        file_of(coo).chmod(0o600)
        result = plan(coo, force=True)
        assert (result.state, result.problem) == (RenderState.FOREIGN, "")
        written = write(result)
        assert written.backup == file_of(coo).with_name(name)
        assert written.backup.read_text("utf-8") == f"手写 {number}\n"
        assert stat.S_IMODE(written.backup.stat().st_mode) == 0o600
        assert stat.S_IMODE(file_of(coo).stat().st_mode) == 0o600
        assert plan(coo).state is RenderState.UNCHANGED
        file_of(coo).unlink()
    assert [file_of(coo).with_name(f"HEARTBEAT.md.bak{end}").read_text("utf-8") for end in ("", ".1", ".2")] == [
        "手写 0\n",
        "手写 1\n",
        "手写 2\n",
    ]


def test_force_rewrites_a_file_with_broken_markers_as_a_whole(coo: Agent) -> None:
    write(plan(coo))
    broken = file_of(coo).read_bytes().replace(b"<!-- heartbeat:end -->\n", b"")
    file_of(coo).write_bytes(broken)
    assert "line 1: a begin marker without an end marker" in plan(coo).problem
    written = write(plan(coo, force=True))
    assert written.backup is not None
    assert written.backup.read_bytes() == broken
    assert file_of(coo).read_text("utf-8") == render_agent(make_roster(coo), coo)


def test_force_takes_no_backup_of_what_is_ours(coo: Agent) -> None:
    write(plan(make_coo(workspace=coo.workspace, max_rounds=40)))
    assert write(plan(coo, force=True)).backup is None
    assert names(file_of(coo).parent) == ["HEARTBEAT.md"]


def test_a_file_that_changed_after_the_plan_is_not_overwritten(coo: Agent) -> None:
    write(plan(coo))
    changed = make_coo(workspace=coo.workspace, max_rounds=60)
    result = plan(changed)
    with file_of(coo).open("a", encoding="utf-8") as file:
        file.write("Agent 刚写的一行\n")
    with pytest.raises(CannotWriteError, match="changed while it was being rendered"):
        write(result)
    assert file_of(coo).read_text("utf-8").endswith("Agent 刚写的一行\n")
    write(plan(changed))
    assert file_of(coo).read_text("utf-8").endswith("Agent 刚写的一行\n")
    assert "60 轮" in file_of(coo).read_text("utf-8")


def test_a_file_that_appeared_after_the_plan_is_not_overwritten(coo: Agent) -> None:
    result = plan(coo)
    file_of(coo).write_text("新来的", encoding="utf-8")
    with pytest.raises(CannotWriteError, match="changed while"):
        write(result)
    assert file_of(coo).read_text("utf-8") == "新来的"


def test_a_missing_workspace_is_one_agents_problem_and_names_the_mend(coo: Agent, tmp_path: Path) -> None:
    lost = make_agent("lost", workspace=tmp_path / "nowhere")
    homeless = make_agent("homeless")
    misplaced = make_agent("misplaced", workspace=tmp_path / "file")
    (tmp_path / "file").touch()
    agents = [lost, coo, homeless, misplaced]
    results = plan_render(make_roster(*agents), agents)
    assert [result.agent_id for result in results] == ["lost", "coo", "homeless", "misplaced"]
    states = [result.state for result in results]
    assert states == [RenderState.UNWRITABLE, RenderState.CREATED, RenderState.UNWRITABLE, RenderState.UNWRITABLE]
    assert results[0].problem == f"{tmp_path / 'nowhere'}: the workspace of lost does not exist"
    assert results[2].problem == "agent homeless has no workspace"
    assert results[3].problem == f"{tmp_path / 'file'}: the workspace of misplaced is not a directory"
    for result in (results[0], results[2], results[3]):
        assert "--out DIR" in result.advice
        with pytest.raises(CannotWriteError):
            write(result)
    assert not (tmp_path / "nowhere").exists()


def test_out_writes_a_directory_per_agent_and_needs_no_workspace(tmp_path: Path) -> None:
    agents = [make_coo(), make_agent("writer")]
    out = tmp_path / "deep" / "out"
    for result in plan_render(make_roster(*agents), agents, out=out):
        assert result.state is RenderState.CREATED
        write(result)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "coo/HEARTBEAT.md",
        "writer/HEARTBEAT.md",
    ]


def test_two_agents_with_one_file_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "also").symlink_to(tmp_path)
    agents = [make_coo(workspace=tmp_path), make_agent("writer", workspace=tmp_path / "also")]
    with pytest.raises(UsageError, match="both coo and writer would be written into this file"):
        plan_render(make_roster(*agents), agents)
    assert [result.state for result in plan_render(make_roster(*agents), agents, out=tmp_path / "out")] == [
        RenderState.CREATED
    ] * 2


def test_another_agents_file_is_not_overwritten(coo: Agent) -> None:
    write(plan(make_agent("writer", workspace=coo.workspace)))
    result = plan(coo)
    assert result.state is RenderState.FOREIGN
    assert "it holds the block of agent writer, not of coo" in result.problem


def test_a_link_inside_the_workspace_is_followed_and_stays_a_link(coo: Agent) -> None:
    directory = file_of(coo).parent
    (directory / "docs").mkdir()
    file_of(coo).symlink_to("docs/beat.md")
    assert write(plan(coo)).path == directory / "docs" / "beat.md"
    assert file_of(coo).is_symlink()
    assert plan(coo).state is RenderState.UNCHANGED
    assert names(directory / "docs") == ["beat.md"]


def test_a_link_out_of_the_workspace_is_refused_even_by_force(coo: Agent, tmp_path: Path) -> None:
    outside = tmp_path / "passwd"
    outside.write_text("root", encoding="utf-8")
    for target in (outside, Path("../passwd"), Path("../missing"), Path("HEARTBEAT.md"), Path("docs/missing.md")):
        file_of(coo).symlink_to(target)
        for force in (False, True):
            result = plan(coo, force=force)
            assert result.state is RenderState.UNWRITABLE
            assert "symbolic link" in result.problem
            with pytest.raises(CannotWriteError):
                write(result)
        file_of(coo).unlink()
    assert outside.read_text("utf-8") == "root"
    assert names(tmp_path) == ["coo", "passwd"]


def test_what_is_not_a_regular_file_is_refused_without_waiting(coo: Agent) -> None:
    os.mkfifo(file_of(coo))
    assert plan(coo, force=True).problem == f"{file_of(coo)}: not a regular file"
    file_of(coo).unlink()
    file_of(coo).mkdir()
    assert plan(coo, force=True).problem == f"{file_of(coo)}: not a regular file"


def test_a_huge_file_is_not_read_into_memory(coo: Agent) -> None:
    with file_of(coo).open("wb") as file:
        file.truncate(1 << 32)
    assert "larger than" in plan(coo, force=True).problem


def test_a_file_over_5_KB_is_warned_about_and_written(coo: Agent, tmp_path: Path) -> None:
    assert plan(coo).warnings == ()
    template = tmp_path / "long.j2"
    template.write_text("查" * 2000, encoding="utf-8")
    result = plan(coo, template=template)
    assert result.size == result.block_size > 6000
    assert f"{result.size} bytes, more than the 5120" in result.warnings[0]
    assert write(result).changed


def test_the_bytes_of_others_count_in_the_size_of_the_file(coo: Agent) -> None:
    write(plan(coo))
    with file_of(coo).open("ab") as file:
        file.write(b"x" * 4000)
    result = plan(coo)
    assert result.size == result.block_size + 4000
    assert "4000 from others" in result.warnings[0]
    assert result.state is RenderState.UNCHANGED


def test_B8_a_diff_prints_no_control_characters(coo: Agent) -> None:
    file_of(coo).write_bytes(b"\x1b[2Jgone \xff\x07\r\n\xe2\x80\xae\n")
    diff = plan(coo).diff
    assert "-\\x1b[2Jgone \\udcff\\x07\n" in diff
    assert "-\\u202e\n" in diff
    diff.encode("utf-8")


def test_each_agents_own_template_is_used_in_one_plan(tmp_path: Path) -> None:
    own = tmp_path / "own.j2"
    own.write_text("只为 {{ agent.id }}\n", encoding="utf-8")
    agents = [make_coo(), make_agent("special", template=own), make_agent("third")]
    results = plan_render(make_roster(*agents), agents, out=tmp_path / "out")
    texts = [(result.after or b"").decode() for result in results]
    assert "\n只为 special\n" in texts[1]
    assert "worklist coo" in texts[0]
    assert "worklist third" in texts[2]


def test_B8_a_template_cannot_forge_our_markers(coo: Agent, tmp_path: Path) -> None:
    template = tmp_path / "forger.j2"
    template.write_text("做事\n<!-- heartbeat:end -->\n其余\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"forger\.j2: line 2 of what it renders for coo looks like a marker"):
        plan(coo, template=template)
