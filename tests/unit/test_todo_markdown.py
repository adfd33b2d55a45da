"""What is a task in a Markdown file, and what is not (rule S9)."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from heartbeat.systems.todo.markdown import MAXIMUM_DEPTH, TaskList, line_spans, read_tasks
from tests.support.markdown_texts import files

FULL_PARSER = MarkdownIt("commonmark", {"maxNesting": 2 * MAXIMUM_DEPTH})
TASK_PARSER = MarkdownIt("commonmark", {"maxNesting": 2 * MAXIMUM_DEPTH, "tasklists": True})
KNOWS_TASKS = any("checked" in token.meta for token in TASK_PARSER.parse("- [ ] a"))


def read(text: str, *, bullets: bool = False) -> TaskList:
    return read_tasks(text.encode(), bullets=bullets)


def boxes(text: str) -> list[tuple[int, str | None, str]]:
    return [(task.line, task.box, task.text) for task in read(text).tasks]


@pytest.mark.parametrize("marker", ["-", "*", "+", "1.", "23)", "  -", "-  ", "-\t"])
def test_S9_every_kind_of_list_marker_makes_a_task(marker: str) -> None:
    assert boxes(f"{marker} [ ] call Ann\n") == [(1, " ", "call Ann")]


@pytest.mark.parametrize("box", [" ", "x", "X", "/", "-", "!", "?", "🚧", "⛔\ufe0f", "中", "\u3000"])
def test_S9_any_one_character_stands_in_a_box(box: str) -> None:
    assert boxes(f"- [{box}] call Ann\n") == [(1, box, "call Ann")]


@pytest.mark.parametrize(
    "text",
    [
        "```\n- [ ] a\n```\n",
        "~~~text\n- [ ] a\n",
        "    - [ ] a\n",
        "-     [ ] a\n",
        "<!--\n- [ ] a\n-->\n",
        "<div>\n- [ ] a\n</div>\n",
        "> - [ ] a\n",
        "- > - [ ] a\n",
        "# - [ ] a\n",
        "- # [ ] a\n",
        "| a | [ ] |\n| - | --- |\n| - [ ] b | c |\n",
        "- \\[ ] a\n",
        "- [ ](https://example.test) a\n",
        "- [x]: /target\n",
        "- `[ ] a`\n",
        "- [xx] a\n",
        "- [] a\n",
        "-[ ] a\n",
        "- [ ]a\n",
        "- ［ ］ a\n",
        "- 【 】 a\n",
        "[ ] a\n",
        "- **[ ] a**\n",
        "a paragraph\n2. [ ] a\n",
    ],
)
def test_S9_what_markdown_does_not_take_for_a_task_is_none(text: str) -> None:
    assert boxes(text) == []


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_S9_every_line_ending_counts_lines_alike(ending: str) -> None:
    text = ending.join(["# 标题", "", "- [ ] 一", "  - [x] 二", "", "尾"])
    found = read("\ufeff" + text)
    assert [(task.line, task.depth, task.text) for task in found.tasks] == [(3, 0, "一"), (4, 1, "二")]
    assert [task.headings for task in found.tasks] == [("标题",), ("标题",)]
    assert found.lines == 6


def test_S9_other_separators_of_text_are_no_line_endings() -> None:
    assert boxes("- [ ] a\x0bb\x0cc\x85d\u2028e\n- [ ] f") == [
        (1, " ", "a\x0bb\x0cc\x85d\u2028e"),
        (2, " ", "f"),
    ]


def test_S9_a_nul_is_shown_as_the_replacement_character() -> None:
    assert boxes("- [ ] a\0b\n") == [(1, " ", "a�b")]


def test_S9_a_task_may_follow_a_paragraph_or_an_unfinished_comment_in_another_task() -> None:
    assert boxes("Today:\n- [ ] a <!-- not\n- [ ] b -->\n") == [(2, " ", "a <!-- not"), (3, " ", "b -->")]


def test_S9_several_list_items_on_one_line_make_one_task_and_no_bullet() -> None:
    found = read("- 1. [ ] a\n")
    assert [(task.line, task.depth, task.text) for task in found.tasks] == [(1, 1, "a")]
    assert found.bullets == 0


def test_S9_the_headings_above_are_those_of_the_document() -> None:
    text = "# A\n## B\n- [ ] a\n# C ##\n- [ ] b\n\nD\n---\n- # in a list\n- [ ] c\n\n> # in a quote\n\n- [ ] d\n"
    assert [task.headings for task in read(text).tasks] == [("A", "B"), ("C",), ("C", "D"), ("C", "D")]


def test_S9_a_box_without_text_takes_the_next_line_of_its_paragraph() -> None:
    assert boxes("- [ ]\n  on the next line\n- [ ]\n- [ ]   \n") == [
        (1, " ", "on the next line"),
        (3, " ", ""),
        (4, " ", ""),
    ]


def test_S9_a_task_that_is_underlined_is_still_a_task() -> None:
    assert boxes("- [ ] a\n  ---\n- [ ] b\n---\n") == [(1, " ", "a"), (3, " ", "b")]


def test_S9_the_numbers_of_a_file_without_tasks() -> None:
    found = read("# Work\n\n- **bold**\n  - detail\n1. ~~struck~~\n\n| a | b |\n| - | - |\n")
    assert (found.tasks, found.lines, found.bullets, found.has_text) == ((), 8, 3, True)
    assert not read(" \n\t\n").has_text
    assert read("") == TaskList()


@pytest.mark.parametrize(
    "text",
    [
        "-[ ] a",
        "*[x] a",
        "- [] a",
        "- [ ]a",
        "[ ] a",
        "- ［ ］ a",
        "- 【 】 a",
        "- 【x】 a",
        "• [ ] a",
        "- ☐ a",
        "☑ a",
        "- \u3000[ ] a",
        "- [ ]\u3000a",
        "-\n  [ ] a",
        "a paragraph\n2. [ ] a",
        "| a | [ ] |",
        "1、[ ] a",
    ],
)
def test_S9_what_only_looks_like_a_task_is_counted(text: str) -> None:
    found = read(text)
    assert found.tasks == ()
    assert len(found.near_misses) == 1


@pytest.mark.parametrize(
    "text",
    [
        "- [ ] a",
        "- [](x)",
        "- [x](y) z",
        "- 【紧急】 a",
        "- \\[ ] a",
        "a [ ] b",
        "> -[ ] a",
        "```\n-[ ] a\n```",
        "- ✅ a",
    ],
)
def test_S9_what_is_a_task_or_nothing_like_one_is_no_near_miss(text: str) -> None:
    assert read(text).near_misses == ()


def test_S9_plain_bullets_are_read_on_request_save_the_notes_below_a_task() -> None:
    text = "- one\n  - below one\n- [ ] two\n  - a note\n1. three\n> - quoted\n\n-\n- `code`\n"
    found = read(text, bullets=True)
    assert [(task.line, task.box, task.text) for task in found.tasks] == [
        (1, None, "one"),
        (2, None, "below one"),
        (3, " ", "two"),
        (5, None, "three"),
        (9, None, "`code`"),
    ]


def test_S9_lists_are_read_far_deeper_than_the_parser_does_by_itself() -> None:
    depth = MAXIMUM_DEPTH - 1
    text = "".join("  " * level + f"- [ ] level {level}\n" for level in range(depth))
    found = read(text)
    assert [task.depth for task in found.tasks] == list(range(depth))
    assert found.too_deep is None


@pytest.mark.parametrize("opening", ["- ", "> ", "- > "])
def test_S9_what_is_nested_too_deep_is_told(opening: str) -> None:
    assert read("first\n\n" + opening * 3 * MAXIMUM_DEPTH + "- [ ] a\n").too_deep == 3


def test_S9_bytes_that_are_no_utf8_are_shown_replaced_and_told() -> None:
    data = b"- [ ] caf\xe9 \xf0\x9f\n- [\xff] b\n"
    found = read_tasks(data)
    assert [task.text for task in found.tasks] == ["caf� �", "b"]
    assert [data[task.start : task.end] for task in found.tasks] == [b"- [ ] caf\xe9 \xf0\x9f\n", b"- [\xff] b\n"]
    assert found.has_invalid_bytes
    assert not read("- [ ] a real �\n").has_invalid_bytes


@given(files(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_S9_the_offsets_of_any_file_point_at_its_boxes(data: bytes, bullets: bool) -> None:
    found = read_tasks(data, bullets=bullets)
    spans = line_spans(data)
    assert b"".join(data[start:end] for start, end in spans) == data
    for task in found.tasks:
        assert (task.start, task.end) == spans[task.line - 1]
        if task.box_offset is None:
            assert task.box is None
            continue
        assert data[task.box_offset - 1 : task.box_offset] == b"["
        box = data[task.box_offset :].split(b"]")[0].decode("utf-8", "replace").replace("\0", "�")
        assert task.box is not None
        assert box == task.box


@given(files())
@settings(max_examples=300, deadline=None)
def test_S9_list_items_are_those_of_a_full_parse(data: bytes) -> None:
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    quotes, lines = 0, set()
    for token in FULL_PARSER.parse(text):
        quotes += {"blockquote_open": 1, "blockquote_close": -1}.get(token.type, 0)
        if token.type == "list_item_open" and quotes == 0 and token.map:
            lines.add(token.map[0] + 1)
    found = read_tasks(data)
    tasks = {task.line for task in found.tasks}
    assert tasks <= lines
    assert found.bullets == len(lines - tasks)


_OF_TWO_MINDS = re.compile(rb"\][ \t]*(?:[\r\n]|\Z)|\][ \t](?:[\s<>`~#*+=\[-]|[0-9]+[.)])")
"""A box without text, and one whose text would be a block of its own without the box: GFM parses what follows the box
anew, CommonMark does not."""


@pytest.mark.skipif(not KNOWS_TASKS, reason="this markdown-it-py has no task lists of its own")
@given(files())
@settings(max_examples=300, deadline=None)
def test_S9_every_box_that_github_would_show_is_read_and_no_other(data: bytes) -> None:
    assume(not _OF_TWO_MINDS.search(data))
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    quotes, expected = 0, {}
    for token in TASK_PARSER.parse(text):
        quotes += {"blockquote_open": 1, "blockquote_close": -1}.get(token.type, 0)
        if token.type == "list_item_open" and quotes == 0 and token.map and "checked" in token.meta:
            expected[token.map[0] + 1] = token.meta["checked"]
    found = {task.line: task.box in ("x", "X") for task in read_tasks(data).tasks if task.box in (" ", "x", "X")}
    assert found == expected


@given(files(), st.integers(min_value=0, max_value=14))
@settings(max_examples=150, deadline=None)
def test_S9_a_comment_of_its_own_paragraph_above_moves_tasks_and_changes_none(data: bytes, count: int) -> None:
    assume(not data.startswith(b"\xef\xbb\xbf"))
    before = read_tasks(data).tasks
    after = read_tasks(b"<!-- note -->\n" * count + b"\n" + data).tasks
    assert [(task.line + count + 1, task.box, task.text, task.depth) for task in before] == [
        (task.line, task.box, task.text, task.depth) for task in after
    ]
