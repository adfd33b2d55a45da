"""The contract suite's case for the TODO source: two workspaces in a temporary directory, read as they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from heartbeat.systems.base import FailureKind
from heartbeat.systems.todo.source import build
from tests.contract.suite import Case, Fault
from tests.support.rosters import make_agent, make_coo, make_roster

COO_TODO = """# 待办

## P1

- [ ] 整理发布说明 📅 2026-12-01 🆔 notes
- [/] BIZ-31 接入支付 @designer
1. [x] Renew the certificate
   * [ ] tell the clients

```
- [ ] in a code fence
```

<!--
- [ ] in a comment
-->

> - [ ] in a quote

| task | done |
| ---- | ---- |
| a    | [ ]  |
"""

DESIGNER_TODO = "\ufeff- [ ] Draw the icons ⛔ notes\r\n- [-] Old logo\r\n- [!] waits for the printer"

TITLES = frozenset(
    {
        "整理发布说明",
        "BIZ-31 接入支付",
        "Renew the certificate",
        "tell the clients",
        "Draw the icons",
        "Old logo",
        "waits for the printer",
    }
)


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    """Every regular file below a directory with its content and its time of change."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@contextmanager
def open_files(directory: Path) -> Iterator[Case]:
    """The workspaces of coo and designer, with a HEARTBEAT.md that must not be read."""
    workspaces = {name: directory / "workspaces" / name for name in ("coo", "designer")}
    for workspace in workspaces.values():
        workspace.mkdir(parents=True)
        (workspace / "HEARTBEAT.md").write_text("- [ ] a recurring check\n", encoding="utf-8")
    (workspaces["coo"] / "TODO.md").write_text(COO_TODO, encoding="utf-8")
    (workspaces["designer"] / "TODO.md").write_bytes(DESIGNER_TODO.encode())
    (workspaces["coo"] / "AGENTS.md").write_text("# Rules\n\n- be kind\n", encoding="utf-8")
    roster = make_roster(
        make_coo(workspace=workspaces["coo"]),
        make_agent("designer", name="苏锦绘", workspace=workspaces["designer"]),
    )
    outside = directory / "outside.md"
    outside.write_text("- [ ] somebody else's\n", encoding="utf-8")
    before = snapshot(directory)

    def writes() -> list[str]:
        after = snapshot(directory)
        return [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]

    def gone() -> FailureKind:
        for workspace in workspaces.values():
            shutil.rmtree(workspace)
        return FailureKind.NOT_FOUND

    def instead(put: Callable[[Path], object], kind: FailureKind) -> Callable[[], FailureKind]:
        def fault() -> FailureKind:
            for workspace in workspaces.values():
                (workspace / "AGENTS.md").unlink(missing_ok=True)
                (workspace / "TODO.md").unlink()
                put(workspace / "TODO.md")
            return kind

        return fault

    yield Case(
        source=build({"required": True}, roster, {}),
        transport="files",
        titles=TITLES,
        writes=writes,
        faults={
            Fault.GONE: gone,
            Fault.DENIED: instead(lambda path: path.symlink_to(outside), FailureKind.REFUSED),
            Fault.GARBAGE: instead(lambda path: path.write_bytes("- [ ] a\n".encode("utf-16")), FailureKind.BAD_OUTPUT),
            Fault.HANGING: instead(os.mkfifo, FailureKind.REFUSED),
        },
    )


CASES: list[Any] = [pytest.param(open_files, id="todo-files")]
