"""Commands in the documents are run, and what is not run here is at least a real command (README, docs/, cron/)."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.support.command import heartbeat

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "cron" / "README.md", *(ROOT / "docs").glob("*.md")])
GROUPS = ("roster", "rounds", "outbox", "providers", "dlq", "notify", "cron")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(document.read_text()) if found == language]


def console_lines(document: Path) -> list[str]:
    return [line[2:] for text in blocks(document, "console") for line in text.splitlines() if line.startswith("$ ")]


def mentioned_commands() -> set[str]:
    """Every `heartbeat …` in a code span, a shell block or the crontab."""
    found: set[str] = set()
    for document in DOCUMENTS:
        text = document.read_text()
        spans = re.findall(r"`(heartbeat [^`]+)`", BLOCK.sub("", text))
        lines = [line.split("#")[0].strip() for block in blocks(document, "sh") for line in block.splitlines()]
        found.update(spans, (line for line in lines if line.startswith("heartbeat ")))
    found.update(re.findall(r"heartbeat tick [^>\n]+", (ROOT / "cron" / "heartbeat.crontab").read_text()))
    return {command.strip() for command in found}


def test_the_documents_are_found() -> None:
    assert len(DOCUMENTS) >= 5
    assert any(console_lines(document) for document in DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_shows_at_a_prompt_works_as_shown(document: Path, tmp_path: Path) -> None:
    lines = console_lines(document)
    if lines and not any("--into sample" in line for line in lines):
        assert heartbeat("demo", "--into", "sample", cwd=tmp_path).code == 0
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "heartbeat"
        done = heartbeat(*words[1:], cwd=tmp_path)
        assert done.code == 0, f"{line}\n{done.out}{done.err}"


@pytest.mark.parametrize("command", sorted(mentioned_commands()))
def test_every_command_in_the_documents_exists_with_its_options(command: str, tmp_path: Path) -> None:
    words = shlex.split(command.replace("AGENT", "coo"))[1:]
    depth = 2 if words[0] in GROUPS else 1
    if words[:1] == ["--version"]:
        return
    helped = heartbeat(*words[:depth], "--help", cwd=tmp_path)
    assert helped.code == 0, helped.err
    for option in (word for word in words if word.startswith("--")):
        assert option in helped.out


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in (*DOCUMENTS, ROOT / "ARCHITECTURE.md"):
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE):
            assert target in targets, f"{document.name}: make {target}"


def test_links_between_the_documents_lead_somewhere() -> None:
    for document in (*DOCUMENTS, ROOT / "ARCHITECTURE.md"):
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_picture_of_the_house_matches_the_tree() -> None:
    picture = (ROOT / "ARCHITECTURE.md").read_text()
    for path in sorted((ROOT / "heartbeat").rglob("*.py")):
        if path.name != "__init__.py" and path.name != "__main__.py":
            assert path.name in picture, f"ARCHITECTURE.md does not show {path.relative_to(ROOT)}"
    there = {path.name for folder in ("heartbeat", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")}
    for name in re.findall(r"\b([a-z_]+\.py)\b", picture):
        assert name in there, f"ARCHITECTURE.md shows {name}, which is not there"
