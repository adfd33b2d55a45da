"""The Multica cases of the contract suite: every transport, over a present-day server and over an old one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from heartbeat.systems.base import FailureKind
from heartbeat.systems.multica.source import build
from tests.contract.suite import Case, Fault, OpenCase
from tests.support import fake_multica_cli
from tests.support.fake_multica_records import (
    ALICE,
    BOB,
    CODEX,
    CORE_SQUAD,
    REVIEWER,
    TOKEN,
    WORKSPACE_ID,
    Json,
)
from tests.support.fake_multica_server import FakeMultica, answers, hangs
from tests.support.fake_multica_state import MulticaState
from tests.support.rosters import make_agent, make_roster

ROSTER = make_roster(make_agent("architect", "developer", multica_id=CODEX.upper()))
"""A team that knows Codex, and not Reviewer."""

HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>"


def sample_state(*, modern: bool = True) -> MulticaState:
    """A small workspace with one of each: custom and closed statuses, every kind of owner, stages, runs, metadata."""
    state = MulticaState(modern=modern)
    before = state.now - timedelta(days=1)
    parent = state.add_issue(
        "Ship import pipeline",
        status="in_progress",
        priority="high",
        assignee_type="squad",
        assignee_id=CORE_SQUAD,
        created_at=before,
    )
    for stage, status in ((1, "done"), (2, "backlog")):
        state.add_issue(
            f"Parse CSV <draft> & validate, stage {stage}",
            status=status,
            priority="medium",
            assignee_type="agent",
            assignee_id=CODEX,
            parent_issue_id=parent["id"],
            stage=stage,
            created_at=before,
        )
    working = state.add_issue(
        "登录页报错", status="in_progress", priority="urgent", assignee_type="agent", assignee_id=CODEX
    )
    state.add_run(working["id"], CODEX)
    state.add_issue(
        "Check the sign-in copy",
        status="human_review" if modern else "in_review",
        priority="low",
        assignee_type="agent",
        assignee_id=REVIEWER,
        due_date="2026-12-01",
        metadata={"depends_on": "acm-1, ACM-4"},
    )
    state.add_issue("Note for people", assignee_type="member", assignee_id=BOB)
    state.add_issue("For whoever comes", metadata={"workboard_card": "DEADBEEF"}, creator_id=ALICE)
    return state


def titles(state: MulticaState) -> frozenset[str]:
    return frozenset(str(issue["title"]) for issue in state.issues.values())


def environment(server: FakeMultica, home: Path, **more: str) -> dict[str, str]:
    """All that a program needs to reach the fake server, and nothing of the machine's own environment."""
    return {
        "HOME": str(home),
        "PATH": str(home / "bin"),
        "MULTICA_SERVER_URL": server.url,
        "MULTICA_WORKSPACE_ID": WORKSPACE_ID,
        "MULTICA_TOKEN": TOKEN,
        **more,
    }


@contextmanager
def _open_api(directory: Path, *, modern: bool, chosen: str = "api") -> Iterator[Case]:
    state = sample_state(modern=modern)
    with FakeMultica(state) as server:
        yield Case(
            source=build({"transport": chosen}, ROSTER, environment(server, directory)),
            transport="api",
            titles=titles(state),
            secret=TOKEN,
            writes=lambda: state.writes,
            faults={
                **_server_faults(server),
                Fault.EMPTY: _break(server, answers(200, b""), FailureKind.BAD_OUTPUT),
            },
        )


@contextmanager
def _open_cli(directory: Path, *, modern: bool) -> Iterator[Case]:
    state = sample_state(modern=modern)
    program = fake_multica_cli.install(directory / "bin", version="0.4.32" if modern else "0.4.25")
    with FakeMultica(state) as server:

        def says_nothing() -> FailureKind:
            fake_multica_cli.behave(program, prints="")
            return FailureKind.BAD_OUTPUT

        yield Case(
            source=build({"transport": "cli"}, ROSTER, environment(server, directory)),
            transport="cli",
            titles=titles(state),
            secret=TOKEN,
            writes=lambda: state.writes,
            faults={**_server_faults(server), Fault.EMPTY: says_nothing},
        )


@contextmanager
def _open_file(directory: Path, *, bare: bool) -> Iterator[Case]:
    state = sample_state()
    saved: Json = state.list_issues({})
    path = directory / "issues.json"
    path.write_text(json.dumps(saved["issues"] if bare else saved), "utf-8")

    def is_gone() -> FailureKind:
        path.unlink()
        return FailureKind.NOT_FOUND

    def holds(content: str) -> Callable[[], FailureKind]:
        def fill() -> FailureKind:
            path.write_text(content, "utf-8")
            return FailureKind.BAD_OUTPUT

        return fill

    yield Case(
        source=build({"transport": "file", "path": path}, ROSTER, {"HOME": str(directory)}),
        transport="file",
        titles=titles(state),
        faults={Fault.GONE: is_gone, Fault.GARBAGE: holds('{"cards": []}'), Fault.EMPTY: holds("")},
    )


def _server_faults(server: FakeMultica) -> dict[Fault, Callable[[], FailureKind]]:
    def is_gone() -> FailureKind:
        server.close()
        return FailureKind.UNREACHABLE

    def is_denied() -> FailureKind:
        server.state.tokens.clear()
        return FailureKind.AUTH

    return {
        Fault.GONE: is_gone,
        Fault.DENIED: is_denied,
        Fault.GARBAGE: _break(server, answers(200, HTML), FailureKind.BAD_OUTPUT),
        Fault.HANGING: _break(server, hangs, FailureKind.TIMEOUT),
    }


def _break(server: FakeMultica, fault: Any, kind: FailureKind) -> Callable[[], FailureKind]:
    def breaks() -> FailureKind:
        server.break_with(fault)
        return kind

    return breaks


def _case(name: str, open_case: Callable[..., AbstractContextManager[Case]], **details: Any) -> Any:
    opened: OpenCase = partial(open_case, **details)
    return pytest.param(opened, id=f"multica-{name}")


CASES = (
    _case("api", _open_api, modern=True),
    _case("api-of-an-old-server", _open_api, modern=False),
    _case("api-found-by-itself", _open_api, modern=True, chosen="auto"),
    _case("cli", _open_cli, modern=True),
    _case("cli-of-an-old-server", _open_cli, modern=False),
    _case("file", _open_file, bare=False),
    _case("file-with-a-bare-list", _open_file, bare=True),
)
