"""The worklist as Markdown, read back with a CommonMark parser: foreign text is data in code spans (rule B8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from heartbeat.beat import Beat, Patrol
from heartbeat.cli.markdown import code, worklist
from heartbeat.cli.terminal import clipped, plain
from heartbeat.judge import judge
from heartbeat.memory import Memory
from heartbeat.observation import Observation, scene_of
from heartbeat.policy import ParentRule
from heartbeat.rules.backlog import backlog
from heartbeat.sweep import Sweep
from heartbeat.systems.base import FailureKind, Reading, ReadStatus, SourceReport
from heartbeat.task import Finding, Item, Owner, OwnerKind, Priority, Status
from heartbeat.worklist import assess
from heartbeat.worklist import worklist as of_agent
from tests.support.items import ALICE, NOW, SOURCES, card, explicit, issue, line
from tests.support.rosters import make_agent, make_coo, make_roster

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
FOREIGN = st.text(st.sampled_from(list("`<>-[]x #*_!|~\\&;\n\r\t1.:/@$({登\u200b\x1b")) | st.characters(), max_size=50)

HOSTILE = [
    "$(rm -rf /) `id` ; reboot",
    "--force",
    "-x",
    "- [x] done already",
    "- [ ] a task of its own\n- [ ] and another",
    "1. one\n2. two",
    "# Heading\n## And another",
    "a\n===",
    "---",
    "***",
    "+++\ntitle = 'x'\n+++",
    "```\nrm -rf /\n```",
    "~~~~ sh\nrm\n~~~~",
    "    indented code",
    "> quoted",
    "<!-- hidden -->",
    "<!--",
    "-->",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</details></li></ul>",
    "<?php ?>",
    "<![CDATA[x]]>",
    "[link](http://example.org) ![image](http://example.org/a.png)",
    "[reference]: http://example.org",
    "<http://example.org>",
    "**bold** _emphasis_ ~~struck~~",
    "| a | b |\n| - | - |\n| 1 | 2 |",
    "&lt;script&gt; &#96; &nbsp;",
    "\\` escaped \\",
    "\\",
    "{{ secret }} {% raw %}",
    "<!-- heartbeat:end -->",
    "\x1b]0;title\x07\x1b[31mred",
    "\u202e\u200b\ufeffevil",
    "\x00",
    "\ud800",
    "",
    " ",
    "  two  ",
    "line\r\nline\u2028line",
    *("`" * run for run in range(1, 9)),
    "a `` b ` c ``` d",
    "` start",
    "end `",
    "`both`",
    " `spaced` ",
    "`" * 3000 + "x" + "`" * 2999,
]


@dataclass(frozen=True)
class Page:
    """A worklist and everything that it was made of."""

    text: str

    @property
    def tokens(self) -> Sequence[Token]:
        return PARSER.parse(self.text)

    @property
    def shape(self) -> list[tuple[str, str, int, tuple[str, ...]]]:
        """The structure alone: blocks and inline pieces without their text."""
        return [
            (token.type, token.tag, token.level, tuple(child.type for child in token.children or ()))
            for token in self.tokens
        ]

    @property
    def spans(self) -> list[str]:
        return [child.content.strip() for child in self.inline if child.type == "code_inline"]

    @property
    def inline(self) -> list[Token]:
        return [child for token in self.tokens for child in token.children or ()]

    @property
    def types(self) -> set[str]:
        return {token.type for token in self.tokens} | {child.type for child in self.inline}


def page(
    *items: Item,
    limit: int = 0,
    reports: Sequence[SourceReport] = (),
    patrols: bool = False,
    skipped: str = "",
) -> Page:
    roster = make_roster(make_coo(), make_agent("writer"))
    told = {report.source: report for report in reports}
    readings = {
        name: Reading(
            told.get(name, SourceReport(name, ReadStatus.COMPLETE, read_at=NOW)),
            tuple(item for item in items if item.ref.source == name),
        )
        for name in SOURCES
    }
    sweep = Sweep(readings, NOW)
    assessment = assess(sweep.sight(), now=NOW, parent_rule=ParentRule.STARTED)
    judgement = judge(assessment, scene_of(sweep), Memory(), roster.charter(), slots={}, now=NOW)
    observation = Observation(roster, sweep, NOW, assessment, (), (), judgement)
    beat = Beat(roster.agents["coo"], None if skipped else of_agent(assessment, "coo"), None, skipped)
    ordered = [standing.task for standing in assessment.standings]
    patrol = Patrol(backlog(ordered, SOURCES, roster.agents, NOW), {}) if patrols else None
    return Page(worklist(observation, beat, patrol, limit))


@pytest.mark.parametrize("title", HOSTILE)
@pytest.mark.parametrize("patrols", [False, True])
def test_B8_a_hostile_title_changes_nothing_but_the_text_of_its_code_span(title: str, patrols: bool) -> None:
    rendered, ordinary = page(issue(1, title), patrols=patrols), page(issue(1, "x"), patrols=patrols)
    assert rendered.shape == ordinary.shape
    assert rendered.spans == [clipped(title, 1000).strip() if span == "x" else span for span in ordinary.spans]
    assert "html_block" not in rendered.types
    assert "html_inline" not in rendered.types
    assert "fence" not in rendered.types


@given(FOREIGN, st.sampled_from([Status.TODO, Status.BLOCKED, Status.UNKNOWN]))
@example("`", Status.TODO)
def test_B8_no_title_changes_the_structure(title: str, status: Status) -> None:
    rendered, ordinary = page(issue(1, title, status)), page(issue(1, "x", status))
    assert rendered.shape == ordinary.shape
    assert plain(title).strip() in rendered.spans


@given(FOREIGN)
def test_B8_a_code_span_gives_back_what_went_in(text: str) -> None:
    (inline,) = [token for token in PARSER.parse(f"a {code(text)} b {code('c')} d") if token.type == "inline"]
    assert [child.type for child in inline.children or ()] == ["text", "code_inline", "text", "code_inline", "text"]
    assert [child.content.strip() for child in inline.children or ()][1] == plain(text).strip()


@pytest.mark.parametrize("text", HOSTILE)
def test_B8_names_owners_places_reasons_and_raw_statuses_are_foreign_text_too(text: str) -> None:
    owner = Owner(OwnerKind.AGENT, text or "nobody special")
    items = [
        line(1, "a", aliases=("a1",), depends_on=explicit(text)),
        issue(2, "b", owner=owner),
        issue(3, "c", Status.UNKNOWN),
    ]
    items[0] = replace(items[0], location=text, key=text)
    items[2] = replace(items[2], raw_status=text, key=text)
    report = SourceReport(
        "multica", ReadStatus.COMPLETE, read_at=NOW, findings=(Finding("odd", text), Finding("odd", f"{text} again"))
    )
    rendered = page(*items, reports=[report], patrols=True)
    assert rendered.types <= {
        "heading_open",
        "heading_close",
        "inline",
        "text",
        "code_inline",
        "paragraph_open",
        "paragraph_close",
        "bullet_list_open",
        "bullet_list_close",
        "ordered_list_open",
        "ordered_list_close",
        "list_item_open",
        "list_item_close",
        "softbreak",
    }


@pytest.mark.parametrize(
    "message",
    [
        "<img src=http://example.org/a.png>",
        "**bold**",
        "![a](http://example.org/a.png)",
        "<!-- x -->",
        "[a](http://b.c)",
    ],
)
def test_B8_the_words_of_a_failure_are_foreign_text_too(message: str) -> None:
    failed = SourceReport(
        "multica", ReadStatus.FAILED, kind=FailureKind.SERVER_ERROR, message=f"HTTP 502: {message}", advice="wait"
    )
    types = page(issue(1, "a"), reports=[failed]).types
    assert types.isdisjoint({"html_inline", "html_block", "image", "link_open", "strong_open", "em_open"})


def test_a_failed_source_is_told_first() -> None:
    failed = SourceReport(
        "multica", ReadStatus.FAILED, kind=FailureKind.TIMEOUT, message="no answer in 60s", advice="wait"
    )
    text = page(card(1, "a"), reports=[failed]).text
    assert text.index("NOT READ: `multica failed (timeout): no answer in 60s — wait`") < text.index("## Ready")


def test_each_state_has_its_section_with_its_count_in_reading_order() -> None:
    rendered = page(
        issue(1, "a"),
        issue(2, "b"),
        issue(3, "c", Status.IN_PROGRESS),
        issue(4, "d", Status.BLOCKED),
        issue(5, "e", Status.IN_REVIEW),
        issue(6, "f", Status.BACKLOG),
        issue(7, "g", Status.UNKNOWN),
        issue(8, "h", Status.DONE),
    )
    headings = [text.removeprefix("## ") for text in rendered.text.splitlines() if text.startswith("## ")]
    assert headings == [
        "In progress (1)",
        "Ready (2)",
        "Blocked (1)",
        "In review (1)",
        "Waiting (1)",
        "Unknown (1)",
    ]
    assert rendered.text.endswith("\n\n8 items: 6 presented, 1 deferred, 1 closed\n")


def test_ready_work_is_numbered_in_the_order_of_work_and_each_task_has_priority_and_due_date() -> None:
    rendered = page(
        issue(1, "later", priority=Priority.LOW), issue(2, "sooner", priority=Priority.URGENT, due=date(2026, 12, 1))
    )
    lines = [text for text in rendered.text.splitlines() if text.startswith(("1.", "2."))]
    assert lines == ["1. `BIZ-2` `sooner` (urgent, due 2026-12-01)", "2. `BIZ-1` `later` (low)"]


def test_a_merged_task_shows_every_name_that_it_has() -> None:
    assert "1. `00000001` = `BIZ-1` `a` (normal)" in page(card(1, "a", mentions=("BIZ-1",)), issue(1, "b")).text


def test_what_the_limit_leaves_out_is_said_with_its_number() -> None:
    items = [issue(number, f"task {number}") for number in range(1, 13)]
    limited, whole = page(*items, limit=10), page(*items)
    assert "… and 2 more: run with --limit 0" in limited.text
    assert limited.text.count("`task ") == 10
    assert whole.text.count("`task ") == 12
    assert "more:" not in whole.text


def test_B8_the_limit_is_said_once_a_section_and_never_cut_through_a_task() -> None:
    items = [issue(number, "x", depends_on=explicit(f"BIZ-{number + 100}")) for number in range(1, 5)]
    limited = page(*items, limit=1)
    assert limited.text.count("more: run with --limit 0") == 2
    assert limited.text.count("does not exist") == 2, "one task and one finding"


@pytest.mark.parametrize("count", [1, 9, 12])
def test_the_reasons_stand_below_their_task(count: int) -> None:
    items = [
        part
        for number in range(1, count + 1)
        for part in (card(number, "a", mentions=(f"BIZ-{number}",)), issue(number, "b"))
    ]
    tokens = page(*items).tokens
    (ready,) = [token for token in tokens if token.type == "ordered_list_open"]
    assert ready.level == 0
    nested = [token for token in tokens if token.type == "bullet_list_open" and token.level == 2]
    assert len(nested) == count


def test_nothing_to_do_is_said_and_counted() -> None:
    text = page(issue(1, "a", owner=ALICE)).text
    assert "Nothing to do" in text
    assert "1 other agent" in text


def test_a_skipped_beat_says_why_and_nothing_else() -> None:
    text = page(issue(1, "a"), skipped="another tick of coo is running (pid 7)").text
    assert text.splitlines()[2:] == ["another tick of coo is running (pid 7)"]


def test_the_patrol_sees_every_source_owner_and_agent() -> None:
    stranger = Owner(OwnerKind.AGENT, "stranger")
    items = [issue(number, f"task {number}", owner=stranger) for number in range(6)]
    text = page(*items, patrols=True).text
    assert "- multica: 6 todo, 0 in progress, 6 in all — BACKLOG ALARM" in text
    assert "- workboard: 0 todo, 0 in progress, 0 in all\n" in text
    assert "- load of `stranger`: 6 todo — NOT IN THE ROSTER: nobody is shown this work" in text
    assert "- last beat of coo: never" in text
    assert "- last beat of writer: never" in text
