"""Disks that are full, read-only or unplugged in the middle: the old file stays whole (rule B7, I5)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import CannotWriteError, Exit
from heartbeat.render import RenderResult, RenderState, plan_render, write
from heartbeat.render.replace import advice_for
from heartbeat.roster.model import Agent
from tests.support.rosters import make_coo, make_roster


@pytest.fixture
def coo(tmp_path: Path) -> Agent:
    return make_coo(workspace=tmp_path)


@pytest.fixture
def update(coo: Agent) -> RenderResult:
    """A file of ours with an older number in it, and the plan that would mend it."""
    (first,) = plan_render(make_roster(coo), [make_coo(workspace=coo.workspace, max_rounds=40)])
    write(first)
    return plan(coo)


def plan(agent: Agent, *, force: bool = False) -> RenderResult:
    (result,) = plan_render(make_roster(agent), [agent], force=force)
    return result


def failing(code: int) -> Callable[..., Any]:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class Killed(BaseException):
    """Stands for a death that no handler of ours catches as an error."""


@pytest.mark.parametrize("step", ["replace", "fsync", "fchmod"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES, errno.EDQUOT])
def test_a_failing_step_before_the_rename_leaves_the_old_file_whole(
    update: RenderResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, step, failing(code))
        with pytest.raises(CannotWriteError) as caught:
            write(update)
    assert caught.value.exit_code == Exit.CANNOT_WRITE
    assert str(caught.value) == f"{tmp_path / 'HEARTBEAT.md'}: cannot be written: {os.strerror(code)}"
    assert caught.value.advice
    assert (tmp_path / "HEARTBEAT.md").read_bytes() == update.before
    assert left(tmp_path) == ["HEARTBEAT.md"]
    assert write(update).changed


def test_a_disk_that_is_full_is_named_and_the_mend_too(update: RenderResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(CannotWriteError, match="No space left on device") as caught:
        write(update)
    assert caught.value.advice == "make room on the disk and run it again; the old file is untouched"


def test_a_death_between_the_temporary_file_and_the_rename_leaves_the_old_file_whole(
    update: RenderResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(source: Path, target: Path) -> None:
        assert Path(source).parent == tmp_path
        assert Path(source).read_bytes() == update.after
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            write(update)
    assert (tmp_path / "HEARTBEAT.md").read_bytes() == update.before
    assert write(update).changed
    assert (tmp_path / "HEARTBEAT.md").read_bytes() == update.after


def test_a_process_killed_before_the_rename_leaves_the_old_file_and_a_temporary_one_that_does_no_harm(
    update: RenderResult, coo: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = os.fork()
    if child == 0:
        try:
            monkeypatch.setattr(os, "replace", lambda source, target: os.kill(os.getpid(), 9))
            write(update)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -9
    assert (tmp_path / "HEARTBEAT.md").read_bytes() == update.before
    assert len(left(tmp_path)) == 2
    assert write(plan(coo)).changed
    assert plan(coo).state is RenderState.UNCHANGED


def test_no_moment_shows_half_a_file(update: RenderResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes | None] = []
    path = tmp_path / "HEARTBEAT.md"
    for step in ("fsync", "replace", "fchmod", "close"):
        real = getattr(os, step)

        def look(*arguments: Any, real: Callable[..., Any] = real) -> Any:
            seen.append(path.read_bytes())
            result = real(*arguments)
            seen.append(path.read_bytes())
            return result

        monkeypatch.setattr(os, step, look)
    write(update)
    assert set(seen) == {update.before, update.after}
    assert seen.index(update.after) > seen.index(update.before)


def test_the_file_reaches_the_disk_before_its_name_does_and_the_directory_after(
    update: RenderResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        steps.append(f"fsync {'directory' if Path(f'/proc/self/fd/{descriptor}').resolve() == tmp_path else 'file'}")
        real_sync(descriptor)

    def replace(source: Path, target: Path) -> None:
        steps.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    write(update)
    assert steps == ["fsync file", "rename", "fsync directory"]


def test_a_directory_without_fsync_is_no_failure(update: RenderResult, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def sync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    assert write(update).changed


def test_a_directory_that_takes_no_new_file_is_told(update: RenderResult, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CannotWriteError, match=r"HEARTBEAT\.md: cannot be written: Permission denied") as caught:
        write(update)
    assert "the user who owns the directory" in caught.value.advice
    assert caught.value.advice.endswith("; or use --out DIR")


def test_only_who_renders_files_is_told_of_an_option_that_only_render_has() -> None:
    for number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC):
        assert "--out" not in advice_for(OSError(number, os.strerror(number)))


def test_a_workspace_that_cannot_be_looked_into_is_told_in_the_plan(
    coo: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if os.fspath(path).endswith("HEARTBEAT.md"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    result = plan(coo)
    assert result.state is RenderState.UNWRITABLE
    assert result.problem.endswith("HEARTBEAT.md: cannot be read: Permission denied")
    assert result.advice


def test_an_out_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    blocker = tmp_path / "out"
    blocker.write_text("", encoding="utf-8")
    (result,) = plan_render(make_roster(), [make_coo()], out=blocker)
    with pytest.raises(CannotWriteError, match=r"[Nn]ot a directory"):
        write(result)


def test_a_backup_that_cannot_be_made_stops_the_write(
    coo: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "HEARTBEAT.md").write_text("手写", encoding="utf-8")
    result = plan(coo, force=True)
    monkeypatch.setattr(os, "link", failing(errno.ENOSPC))
    with pytest.raises(CannotWriteError, match="No space left"):
        write(result)
    assert (tmp_path / "HEARTBEAT.md").read_text("utf-8") == "手写"
    assert left(tmp_path) == ["HEARTBEAT.md"]


def test_without_hard_links_the_backup_is_a_copy_and_overwrites_none(
    coo: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "HEARTBEAT.md").write_text("手写", encoding="utf-8")
    (tmp_path / "HEARTBEAT.md").chmod(0o640)
    (tmp_path / "HEARTBEAT.md.bak").write_text("更早", encoding="utf-8")
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    backup = write(plan(coo, force=True)).backup
    assert backup == tmp_path / "HEARTBEAT.md.bak.1"
    assert backup.read_text("utf-8") == "手写"
    assert backup.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "HEARTBEAT.md.bak").read_text("utf-8") == "更早"


def test_a_failed_replacement_takes_its_backup_back_so_that_no_two_names_share_a_file(
    coo: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "HEARTBEAT.md").write_text("手写", encoding="utf-8")
    result = plan(coo, force=True)
    monkeypatch.setattr(os, "replace", failing(errno.EIO))
    with pytest.raises(CannotWriteError):
        write(result)
    assert left(tmp_path) == ["HEARTBEAT.md"]


def test_a_failure_after_the_rename_keeps_the_backup(
    coo: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "HEARTBEAT.md").write_text("手写", encoding="utf-8")
    result = plan(coo, force=True)
    real = os.fsync

    def sync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(CannotWriteError, match="Input/output error"):
        write(result)
    assert (tmp_path / "HEARTBEAT.md.bak").read_text("utf-8") == "手写"
    assert (tmp_path / "HEARTBEAT.md").read_bytes() == result.after


def test_a_file_of_another_owner_keeps_its_owner_where_we_may_give_it(
    update: RenderResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    real = os.fstat

    class Other:
        def __init__(self, descriptor: int) -> None:
            self.real = real(descriptor)
            self.st_uid = self.st_gid = 12345

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    def give(descriptor: int, uid: int, gid: int) -> None:
        given.append((uid, gid))
        raise PermissionError(errno.EPERM, "Operation not permitted")

    owner = (tmp_path / "HEARTBEAT.md").stat()
    monkeypatch.setattr(os, "fstat", Other)
    monkeypatch.setattr(os, "fchown", give)
    assert write(update).changed
    assert given == [(owner.st_uid, owner.st_gid)]
