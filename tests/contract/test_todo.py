"""What the TODO source promises beyond the contract suite: which files, whose they are, how it reports (S1a, S9)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import Exit, UsageError
from heartbeat.roster.model import Agent, Roster
from heartbeat.systems.base import Deadline, FailureKind, Reading, ReadStatus
from heartbeat.systems.registry import build_source
from heartbeat.systems.todo.source import TodoSource, build
from heartbeat.task import Owner, OwnerKind
from tests.contract.suite import NOW
from tests.support.rosters import make_agent, make_roster

PATIENCE = 30.0


def put(path: Path, text: str = "- [ ] a\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def source_of(*agents: Agent, **settings: Any) -> TodoSource:
    return build(settings, make_roster(*agents), {})


def read(*agents: Agent, **settings: Any) -> Reading:
    return source_of(*agents, **settings).read(Deadline.after(PATIENCE), NOW)


def places(reading: Reading) -> list[str]:
    return [item.location or "" for item in reading.items]


def roster_with(settings: Mapping[str, Any], *agents: Agent) -> Roster:
    return make_roster(*agents, sources={"todo": settings})


def test_S9_by_default_todo_and_agents_files_are_read_and_heartbeat_files_never(tmp_path: Path) -> None:
    for name in ("TODO.md", "AGENTS.md", "HEARTBEAT.md", "Heartbeat.MD", "NOTES.md", "docs/TODO.md"):
        put(tmp_path / name, f"- [ ] in {name}\n")
    reading = read(make_agent("coo", workspace=tmp_path))
    assert places(reading) == ["TODO.md:1", "AGENTS.md:1"]
    assert reading.report.status is ReadStatus.COMPLETE
    assert reading.report.message == ""


@pytest.mark.parametrize("pattern", ["*.md", "HEARTBEAT.md", "**/*.md", "[Hh]*.*", "link.md", "docs/*"])
def test_S9_heartbeat_files_are_read_under_no_pattern_and_no_name(tmp_path: Path, pattern: str) -> None:
    put(tmp_path / "HEARTBEAT.md", "- [ ] a recurring check\n")
    put(tmp_path / "docs/heartbeat.md", "- [ ] another one\n")
    (tmp_path / "link.md").symlink_to("HEARTBEAT.md")
    assert read(make_agent("coo", workspace=tmp_path), files=[pattern]).items == ()


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("TODO.md", ["TODO.md"]),
        ("./TODO.md", ["TODO.md"]),
        ("docs/a/TODO.md", ["docs/a/TODO.md"]),
        ("*.md", ["NOTES.md", "TODO.md"]),
        ("*/TODO.md", ["docs/TODO.md"]),
        ("**/TODO.md", ["TODO.md", "docs/TODO.md", "docs/a/TODO.md"]),
        ("docs/**", ["docs/TODO.md", "docs/a/TODO.md", "docs/a/b.markdown"]),
        ("**/a/**/*", ["docs/a/TODO.md", "docs/a/b.markdown"]),
        ("**/**/b.*", ["docs/a/b.markdown"]),
        ("[NT]*.md", ["NOTES.md", "TODO.md"]),
        (".hidden/*.md", [".hidden/TODO.md"]),
        ("nowhere/*.md", []),
        ("TODO.md/x", []),
        ("a\nb.md", []),
    ],
)
def test_S9_files_may_be_named_by_globs(tmp_path: Path, pattern: str, found: list[str]) -> None:
    for name in ("TODO.md", "NOTES.md", "docs/TODO.md", "docs/a/TODO.md", "docs/a/b.markdown"):
        put(tmp_path / name)
    for name in (".hidden/TODO.md", "node_modules/x/TODO.md"):
        put(tmp_path / name)
    reading = read(make_agent("coo", workspace=tmp_path), files=[pattern])
    assert places(reading) == [f"{name}:1" for name in found]
    assert reading.report.status is ReadStatus.COMPLETE


def test_S9_a_file_that_several_patterns_or_names_mean_is_read_once(tmp_path: Path) -> None:
    put(tmp_path / "TODO.md")
    (tmp_path / "AGENTS.md").symlink_to("TODO.md")
    reading = read(make_agent("coo", workspace=tmp_path), files=["TODO.md", "*.md", "**/TODO.md"])
    assert places(reading) == ["TODO.md:1"]


@pytest.mark.parametrize("pattern", ["/etc/passwd", "../TODO.md", "docs/../../TODO.md", "~/TODO.md", "", " ", "a\0b"])
def test_S9_a_pattern_that_leads_out_of_the_workspace_is_a_mistake_in_the_roster(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"todo\.files") as mistake:
        build({"files": ["TODO.md", pattern]}, make_roster(), {})
    assert mistake.value.exit_code is Exit.USAGE
    assert mistake.value.advice


def test_S6a_each_workspace_is_its_agents(tmp_path: Path) -> None:
    put(tmp_path / "one/TODO.md", "- [ ] a\n- [ ] b @two\n")
    put(tmp_path / "two/TODO.md")
    reading = read(
        make_agent("one", workspace=tmp_path / "one"),
        make_agent("two", workspace=tmp_path / "two"),
        make_agent("three"),
    )
    assert [(item.owner.id, item.location) for item in reading.items] == [
        ("one", "TODO.md:1"),
        ("two", "one/TODO.md:2"),
        ("two", "TODO.md:1"),
    ]
    assert [item.ref.id.partition("#")[0] for item in reading.items] == ["one/TODO.md", "one/TODO.md", "two/TODO.md"]


def test_S6a_a_shared_workspace_is_read_once_and_is_nobodys(tmp_path: Path) -> None:
    put(tmp_path / "shared/TODO.md")
    (tmp_path / "link").symlink_to("shared")
    reading = read(
        make_agent("one", workspace=tmp_path / "shared"),
        make_agent("two", workspace=tmp_path / "link"),
    )
    assert [item.owner.kind for item in reading.items] == [OwnerKind.NOBODY]
    assert [finding.code for finding in reading.report.findings] == ["todo-shared"]
    assert "one, two" in reading.report.findings[0].message


def test_S6a_a_workspace_within_a_workspace_keeps_its_files(tmp_path: Path) -> None:
    put(tmp_path / "TODO.md")
    put(tmp_path / "inner/TODO.md")
    reading = read(
        make_agent("outer", workspace=tmp_path),
        make_agent("inner", workspace=tmp_path / "inner"),
        files=["**/TODO.md"],
    )
    assert [item.owner for item in reading.items] == [
        Owner(OwnerKind.AGENT, "outer"),
        Owner(OwnerKind.AGENT, "inner"),
    ]


def test_S9_a_missing_file_is_normal_and_an_empty_one_too(tmp_path: Path) -> None:
    reading = read(make_agent("coo", workspace=tmp_path))
    assert (reading.report.status, reading.report.items, reading.report.findings) == (ReadStatus.COMPLETE, 0, ())
    put(tmp_path / "TODO.md", "")
    assert read(make_agent("coo", workspace=tmp_path)).report == reading.report


def test_S2_a_missing_workspace_is_told_by_its_agents_name_and_is_no_absence(tmp_path: Path) -> None:
    put(tmp_path / "one/TODO.md")
    put(tmp_path / "file")
    reading = read(
        make_agent("one", workspace=tmp_path / "one"),
        make_agent("two", workspace=tmp_path / "nowhere"),
        make_agent("three", workspace=tmp_path / "file"),
    )
    assert len(reading.items) == 1
    assert reading.report.status is ReadStatus.PARTIAL
    assert "two: the workspace" in reading.report.message
    assert "three: the workspace" in reading.report.message


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, ReadStatus.DISABLED),
        ({"transport": "auto"}, ReadStatus.DISABLED),
        ({"required": True}, ReadStatus.FAILED),
        ({"transport": "files"}, ReadStatus.FAILED),
    ],
)
def test_S1a_without_any_workspace_the_source_is_disabled_unless_it_is_required(
    settings: dict[str, Any], status: ReadStatus
) -> None:
    agent = make_agent("coo", workspace=None)
    report = read(agent, **settings).report
    assert (report.status, report.kind) == (status, FailureKind.NOT_CONFIGURED)
    assert "workspace" in report.message
    (probe,) = source_of(agent, **settings).probe(Deadline.after(PATIENCE))
    assert (probe.ok, probe.configured, probe.kind) == (False, False, FailureKind.NOT_CONFIGURED)


def test_S1a_workspaces_that_are_named_and_not_there_are_a_failure(tmp_path: Path) -> None:
    agent = make_agent("coo", workspace=tmp_path / "nowhere")
    report = read(agent).report
    assert (report.status, report.kind) == (ReadStatus.FAILED, FailureKind.NOT_FOUND)
    assert str(tmp_path / "nowhere") in report.message
    (probe,) = source_of(agent).probe(Deadline.after(PATIENCE))
    assert (probe.ok, probe.configured, probe.kind) == (False, True, FailureKind.NOT_FOUND)


def test_S9_plain_bullets_are_a_setting_and_never_read_from_instructions(tmp_path: Path) -> None:
    put(tmp_path / "TODO.md", "- a\n- ~~b~~\n")
    put(tmp_path / "AGENTS.md", "- be kind\n- [ ] c\n")
    agent = make_agent("coo", workspace=tmp_path)
    assert [item.title for item in read(agent).items] == ["c"]
    assert [item.title for item in read(agent, bullets=True).items] == ["a", "b", "c"]


def test_the_identity_names_what_is_read(tmp_path: Path) -> None:
    one, other = make_agent("coo", workspace=tmp_path / "a"), make_agent("coo", workspace=tmp_path / "b")
    sources = [source_of(one), source_of(other), source_of(one, files=["x.md"]), source_of(one, bullets=True)]
    assert len({source.identity for source in sources}) == len(sources)
    assert source_of(one).identity == sources[0].identity
    assert json.loads(sources[0].identity)["files"] == ["TODO.md", "AGENTS.md"]


def test_a_probe_tells_how_many_tasks_there_are(tmp_path: Path) -> None:
    put(tmp_path / "TODO.md", "- [ ] a\n- [ ]\n- [x] b\n")
    put(tmp_path / "AGENTS.md", "# Rules\n")
    (probe,) = source_of(make_agent("coo", workspace=tmp_path)).probe(Deadline.after(PATIENCE))
    assert (probe.ok, probe.items, probe.message) == (True, 2, "")


def test_the_registry_builds_the_source(tmp_path: Path) -> None:
    put(tmp_path / "TODO.md")
    roster = roster_with({"files": ["TODO.md"], "required": True}, make_agent("coo", workspace=tmp_path))
    source = build_source("todo", roster, {})
    assert (source.name, source.shareable) == ("todo", False)
    assert len(source.read(Deadline.after(PATIENCE), NOW).items) == 1
