"""Our block in a file that others write too: found, replaced, refused (rules B7, I5)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat.errors import CannotWriteError, Exit
from heartbeat.render.managed import Block, Foreign, digest, enclose, find_block, forges_marker, merge_into

OLD = enclose("旧\n第二行\n", agent_id="coo", template_digest="0" * 12)
NEW = enclose("新\n", agent_id="coo", template_digest="1" * 12)
BEGIN = OLD.split("\n", 1)[0]
END = "<!-- heartbeat:end -->"


def merged(existing: str | None, *, force: bool = False) -> str:
    return merge_into(existing, NEW, agent_id="coo", force=force)


def test_the_block_says_whose_it_is_and_of_which_template() -> None:
    sum_of_body = digest("旧\n第二行\n")
    begin = f"<!-- heartbeat:begin agent=coo template=000000000000 digest={sum_of_body} -->"
    assert f"{begin}\n旧\n第二行\n{END}" == OLD
    block = find_block(OLD)
    assert isinstance(block, Block)
    assert (block.agent_id, block.template, block.start, block.stop, block.edited) == (
        "coo",
        "0" * 12,
        0,
        len(OLD),
        False,
    )


@pytest.mark.parametrize("existing", [None, "", "\n", " \t\r\n\n", "\ufeff\n"])
def test_a_new_or_blank_file_becomes_the_block(existing: str | None) -> None:
    assert merged(existing) == NEW + "\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("", "\n"),
        ("# 我的笔记\n\n", "\n\n- [ ] 不要动我\n"),
        ("\n\n\n", "   "),
        ("", "\ntext without a newline at the end"),
        ("\ufeff", "\n"),
        ("\udcff\udc80 no UTF-8\n", "\n\udce4\n"),
        ("a\x0bb\x0cc\u2028d\x85e\n", "\n\x1c\n"),
        ("``` \n", "\n```\n"),
    ],
)
def test_what_stands_outside_the_markers_is_kept_as_it_is(before: str, after: str) -> None:
    assert merged(before + OLD + after) == before + NEW + after


def test_a_file_with_CRLF_keeps_CRLF_outside_and_gets_it_inside() -> None:
    existing = f"一\r\n{OLD}\r\n二\r\n".replace("\r\n", "\n").replace("\n", "\r\n")
    result = merged(existing)
    assert result == f"一\n{NEW}\n二\n".replace("\n", "\r\n")
    block = find_block(result)
    assert isinstance(block, Block)
    assert not block.edited


def test_a_checkout_that_changes_line_endings_is_no_edit() -> None:
    for text in (OLD, OLD.replace("\n", "\r\n")):
        block = find_block(text)
        assert isinstance(block, Block)
        assert not block.edited


@pytest.mark.parametrize(
    "edited",
    [
        OLD.replace("第二行", "第二行!"),
        OLD.replace("第二行", "第二行 "),
        OLD.replace("旧\n", ""),
        OLD.replace("\n" + END, "\n我加的\n" + END),
        OLD.replace("旧\n第二行\n", ""),
        re.sub(r"digest=\w+", f"digest={'f' * 12}", OLD),
    ],
)
def test_an_edit_between_the_markers_shows_and_is_replaced(edited: str) -> None:
    block = find_block(edited)
    assert isinstance(block, Block)
    assert block.edited
    assert merged(f"前\n{edited}\n后\n") == f"前\n{NEW}\n后\n"


@pytest.mark.parametrize(
    ("existing", "reason"),
    [
        ("我手写的\n", "it was not written by heartbeat"),
        ("# 只有标题", "it was not written by heartbeat"),
        (f" {BEGIN}\nx\n {END}\n", "it was not written by heartbeat"),
        (f"说明：`{BEGIN}` 与 `{END}`\n", "it was not written by heartbeat"),
        (f"a\n{BEGIN}\nb\n", "line 2: a begin marker without an end marker"),
        (f"a\nb\n{END}\n", "line 3: an end marker without a begin marker"),
        (f"{END}\n{BEGIN}\n", "line 1: the end marker stands before the begin marker in line 2"),
        (f"{OLD}\n{OLD}\n", "more than one block: begin markers in line 1, 5, end markers in line 4, 8"),
        (f"{BEGIN}\n{OLD}\n", "more than one block: begin markers in line 1, 2, end markers in line 5"),
        (f"{OLD}\n{END}\n", "more than one block: begin markers in line 1, end markers in line 4, 5"),
        (OLD.replace(" digest=", " dig="), "line 1: the begin marker is damaged"),
        (OLD.replace("agent=coo", "agent=../coo"), "line 1: the begin marker is damaged"),
        (f"{BEGIN} x\n{END}", "line 1: the begin marker is damaged"),
        (OLD.replace(END, "<!-- heartbeat:end"), "line 4: the end marker is damaged"),
        (f"{OLD} x", "line 4: the end marker is damaged"),
        (OLD.replace("agent=coo", "agent=secretary"), "it holds the block of agent secretary, not of coo"),
    ],
)
def test_what_is_not_ours_is_refused_with_its_lines_and_replaced_only_by_force(existing: str, reason: str) -> None:
    with pytest.raises(CannotWriteError, match=re.escape(reason)) as caught:
        merged(existing)
    assert caught.value.exit_code == Exit.CANNOT_WRITE == 73
    assert "--force" in caught.value.advice
    assert merged(existing, force=True) == NEW + "\n"


def test_white_space_after_the_end_marker_is_kept() -> None:
    assert merged(f"{OLD}  \nx") == f"{NEW}  \nx"


def test_force_changes_nothing_for_a_file_that_is_ours() -> None:
    assert merged(f"前\n{OLD}\n后", force=True) == f"前\n{NEW}\n后"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("a\nb\n", None),
        (f"a\n{END}\n", 2),
        ("<!-- heartbeat:begin\n", 1),
        ("a\nb\n<!-- heartbeat:ending is near -->", 3),
        (f" {END}\n", None),
    ],
)
def test_B8_a_body_that_would_read_as_a_marker_is_found(body: str, line: int | None) -> None:
    assert forges_marker(body) == line


LINES = st.text(st.characters(exclude_categories=(), exclude_characters="<"), max_size=30)


@settings(max_examples=200, deadline=None)
@given(before=LINES, after=LINES, newline=st.sampled_from(["\n", "\r\n"]))
def test_any_text_around_the_block_survives_and_a_second_render_changes_nothing(
    before: str, after: str, newline: str
) -> None:
    existing = f"{before}\n{OLD.replace(chr(10), newline)}\n{after}"
    if newline == "\r\n":
        existing = f"{before}\n{OLD.replace(chr(10), newline)}\r\n{after}"
    once = merged(existing)
    assert once.startswith(f"{before}\n")
    assert once.endswith(after)
    assert once == existing.replace(OLD.replace("\n", newline), NEW.replace("\n", newline))
    assert merged(once) == once
    assert not isinstance(find_block(once), Foreign)
