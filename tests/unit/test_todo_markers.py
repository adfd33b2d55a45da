"""What a task line says of itself: priority, due date, id, dependencies, owner (rules S7, S9, D1, M1a)."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat.systems.todo.headings import says_done, says_priority
from heartbeat.systems.todo.inline import ANNOTATION_OPEN, has_open_comment, without_annotations
from heartbeat.systems.todo.markers import fold, owner_pattern, read_markers
from heartbeat.task import Priority

OWNERS = owner_pattern(["coo", "prompt-engineer", "许言", "许言之", "Tom Lee"])


@pytest.mark.parametrize(
    ("text", "title", "priority"),
    [
        ("fix it 🔺", "fix it", Priority.URGENT),
        ("⏫ fix it", "fix it", Priority.HIGH),
        ("fix 🔼\ufe0f it", "fix it", Priority.NORMAL),
        ("fix it 🔽", "fix it", Priority.LOW),
        ("fix it ⏬", "fix it", Priority.LOW),
        ("(A) fix it", "fix it", Priority.URGENT),
        ("(B) fix it", "fix it", Priority.HIGH),
        ("(C) fix it", "fix it", Priority.NORMAL),
        ("(Z) fix it", "fix it", Priority.LOW),
        ("fix it pri:B", "fix it", Priority.HIGH),
        ("!!! fix it", "fix it", Priority.URGENT),
        ("fix it !!!", "fix it", Priority.URGENT),
        ("fix it !!", "fix it", Priority.HIGH),
        ("! fix it", "fix it", Priority.NORMAL),
        ("！！ 修复", "修复", Priority.HIGH),
        ("P0 fix it", "fix it", Priority.URGENT),
        ("P1: fix it", "fix it", Priority.HIGH),
        ("P2 - fix it", "fix it", Priority.NORMAL),
        ("fix it P3", "fix it", Priority.LOW),
        ("**P0** fix it", "fix it", Priority.URGENT),
        ("**[P0]** fix it", "fix it", Priority.URGENT),
        ("`P0` fix it", "fix it", Priority.URGENT),
        ("**P1: fix** it", "**fix** it", Priority.HIGH),
        ("[P0] fix it", "fix it", Priority.URGENT),
        ("修复【P1】登录", "修复 登录", Priority.HIGH),
        ("P0修复登录", "修复登录", Priority.URGENT),
        ("fix it #P2", "fix it", Priority.NORMAL),
        ("priority: high fix it", "fix it", Priority.HIGH),
        ("fix it [priority:: low]", "fix it", Priority.LOW),
        ("修复登录，优先级：高", "修复登录", Priority.HIGH),
        ("(A) P2 fix it 🔽", "fix it", Priority.URGENT),
    ],
)
def test_S7_priority_marks_are_read_and_taken_out_of_the_title(text: str, title: str, priority: Priority) -> None:
    markers = read_markers(text)
    assert (markers.title, markers.priority) == (title, priority)


@pytest.mark.parametrize(
    "text",
    [
        "P2P network",
        "handle P0 incidents better",
        "P1.5 release",
        "Attention ! this",
        "really!!!",
        "(a) first choice",
        "plan (B) instead",
        "[P0](https://example.test) page",
        "see `🔺` and `[P0]`",
        "prioritise: highlights",
        "<!-- P0 🔺 --> fix it",
        "https://example.test/#P1",
    ],
)
def test_S7_what_only_mentions_a_priority_has_none(text: str) -> None:
    assert read_markers(text).priority is Priority.NONE


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("pay 📅 2026-12-01", date(2026, 12, 1)),
        ("pay 📅2026-12-01", date(2026, 12, 1)),
        ("🗓\ufe0f 2026-12-01 pay", date(2026, 12, 1)),
        ("pay due:2026-12-01", date(2026, 12, 1)),
        ("pay (due: 2026/12/1)", date(2026, 12, 1)),
        ("pay [due:: 2026-12-01]", date(2026, 12, 1)),
        ("pay 截止：2026年12月1日", date(2026, 12, 1)),
        ("pay ✅ 2026-11-02 ➕ 2026-11-01", None),
        ("pay 2026-12-01", None),
        ("residue:2026-12-01", None),
    ],
)
def test_S9_due_dates_are_read_and_history_is_dropped(text: str, due: date | None) -> None:
    markers = read_markers(text)
    assert markers.due == due
    assert markers.unread == ()
    if due is not None:
        assert markers.title == "pay"


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("pay 📅 tomorrow", "📅 tomorrow"),
        ("pay due:2026-02-30", "due:2026-02-30"),
        ("pay 📅 2026-13-01", "📅 2026-13-01"),
        ("依赖：待定", "依赖：待定"),
    ],
)
def test_S9_a_mark_that_says_nothing_readable_is_told_and_stays_in_the_title(text: str, unread: str) -> None:
    markers = read_markers(text)
    assert (markers.title, markers.due, markers.unread) == (text, None, (unread,))


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("ship blocked by BIZ-12", ("BIZ-12",)),
        ("ship (blocked by BIZ-12, biz-13 and BIZ-14)", ("BIZ-12", "BIZ-13", "BIZ-14")),
        ("ship depends on: BIZ-12", ("BIZ-12",)),
        ("ship blocked_by: BIZ-12", ("BIZ-12",)),
        ("ship depends_on: icons", ("icons",)),
        ("ship dependsOn: BIZ-12", ("BIZ-12",)),
        ("ship blocked by BIZ-12 or BIZ-13", ("BIZ-12", "BIZ-13")),
        ("ship blocked by BIZ-12/BIZ-13", ("BIZ-12", "BIZ-13")),
        ("ship 依赖 BIZ-12 或 BIZ-13", ("BIZ-12", "BIZ-13")),
        ("ship depends on [[BIZ-12]] and `a1b2c3d4`", ("BIZ-12", "a1b2c3d4")),
        ("ship depends on [BIZ-12](https://example.test/BIZ-12)", ("BIZ-12",)),
        ("ship blocked by 12345678-1234-1234-1234-123456789abc", ("12345678-1234-1234-1234-123456789abc",)),
        ("ship 依赖: BIZ-12", ("BIZ-12",)),
        ("ship（依赖：BIZ-12、BIZ-13，BIZ-14）", ("BIZ-12", "BIZ-13", "BIZ-14")),
        ("ship 依赖BIZ-12", ("BIZ-12",)),
        ("ship 前置：BIZ-12", ("BIZ-12",)),
        ("ship 前置任务 BIZ-12", ("BIZ-12",)),
        ("ship ⛔ abc123", ("abc123",)),
        ("ship ⛔\ufe0f abc,def 📅 2026-12-01", ("abc", "def")),
        ("ship ⛔ abc ⛔ def1", ("abc", "def1")),
        ("ship ⛔ BIZ-12 blocked by BIZ-12", ("BIZ-12",)),
        ("ship 依赖：icons", ("icons",)),
    ],
)
def test_D1_what_a_line_waits_for_is_read_and_taken_out_of_the_title(text: str, targets: tuple[str, ...]) -> None:
    markers = read_markers(text)
    assert (markers.title, markers.depends_on, markers.blocked) == ("ship", targets, False)
    assert markers.mentions == (), "what it waits for is not what it is"


@pytest.mark.parametrize(
    "text",
    [
        "ship, not blocked by BIZ-12",
        "ship, no longer blocked by BIZ-12",
        "it doesn't depend on BIZ-12",
        "不依赖 BIZ-12",
        "依赖：无",
        "depends on: none",
        "blocked by the legal team",
        "unblocked by BIZ-12",
        "not_blocked_by BIZ-12",
        "`blocked by BIZ-12, BIZ-13` is the syntax",
        "<!-- blocked by BIZ-12 -->",
    ],
)
def test_D1_what_waits_for_nothing_has_no_dependency(text: str) -> None:
    markers = read_markers(text)
    assert (markers.depends_on, markers.blocked, markers.unread) == ((), False, ())


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("⛔ sign", "sign"),
        ("sign ⛔", "sign"),
        ("sign ⛔ waiting for Ann", "sign waiting for Ann"),
        ("⛔ 等待法务", "等待法务"),
        ("sign ⛔ 2026-12-01", "sign 2026-12-01"),
    ],
)
def test_S9_no_entry_without_a_name_means_blocked(text: str, title: str) -> None:
    markers = read_markers(text)
    assert (markers.title, markers.blocked, markers.depends_on) == (title, True, ())


@pytest.mark.parametrize(
    ("text", "ticket", "mentions"),
    [
        ("BIZ-31 do it", "BIZ-31", ("BIZ-31",)),
        ("[BIZ-31](https://example.test) do it", "BIZ-31", ("BIZ-31",)),
        ("**BIZ-31**: do it", "BIZ-31", ("BIZ-31",)),
        ("(A) P0 【BIZ-31】 do it", "BIZ-31", ("BIZ-31",)),
        ("do BIZ-31", None, ()),
        ("BIZ-31-fix do it", None, ()),
        ("step-1 do it", None, ()),
        ("do it 3f2a9c1e", None, ("3f2a9c1e",)),
        ("do it (card `3F2A9C1E`)", None, ("3f2a9c1e",)),
        ("BIZ-7 12345678-1234-1234-1234-123456789ABC", "BIZ-7", ("BIZ-7", "12345678-1234-1234-1234-123456789abc")),
        ("do it abcdefg1 3f2a9c1", None, ()),
        ("do it 🆔 3f2a9c1e", None, ()),
        ("do it <!-- heartbeat: card 3f2a9c1e -->", None, ()),
    ],
)
def test_M1a_a_leading_ticket_and_card_ids_are_mentions(
    text: str, ticket: str | None, mentions: tuple[str, ...]
) -> None:
    markers = read_markers(text)
    assert (markers.ticket, markers.mentions) == (ticket, mentions)


@pytest.mark.parametrize(
    ("text", "title", "owner"),
    [
        ("@coo count", "count", "coo"),
        ("count @COO", "count", "coo"),
        ("count ＠coo", "count", "coo"),
        ("@coo: count", "count", "coo"),
        ("@许言请看", "请看", "许言"),
        ("@许言之请看", "请看", "许言之"),
        ("请@coo处理", "请@coo处理", "coo"),
        ("ask @coo about it", "ask @coo about it", "coo"),
        ("@Tom Lee signs", "signs", "tom lee"),
        ("@prompt-engineer @coo look", "@coo look", "prompt-engineer"),
        ("count @coon", "count @coon", None),
        ("count @coo-backup", "count @coo-backup", None),
        ("mail ann@coo.example", "mail ann@coo.example", None),
        ("mail @coo.example", "mail @coo.example", None),
        ("see https://example.test/@coo", "see https://example.test/@coo", None),
        ("use `@coo`", "use `@coo`", None),
    ],
)
def test_S6a_a_known_name_after_an_at_sign_is_the_owner(text: str, title: str, owner: str | None) -> None:
    markers = read_markers(text, OWNERS)
    assert (markers.title, markers.owner) == (title, owner)


def test_S6a_unknown_names_after_an_at_sign_are_told() -> None:
    assert read_markers("@bob and @ann-2 call @bob", OWNERS).strangers == ("bob", "ann-2")
    assert read_markers("@bob asks @coo", OWNERS).strangers == ()
    assert read_markers("@angular/core, @due(today), a@b.example", OWNERS).strangers == ()


def test_S9_the_id_and_the_road_works_are_read() -> None:
    markers = read_markers("🚧 build 🆔 a-b_1 it")
    assert (markers.title, markers.id, markers.in_progress) == ("build it", "a-b_1", True)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("🔺", "🔺"),
        ("🚧 📅 2026-12-01", "🚧 📅 2026-12-01"),
        ("🎉", "🎉"),
        ("<!-- only a comment -->", ""),
        ("  ", ""),
        ("fix, blocked by BIZ-12, soon", "fix, soon"),
        ("`<!-- code -->` stays", "`<!-- code -->` stays"),
        ("open <!-- comment", "open <!-- comment"),
        ("a <!-- b --> c <!----> d <!--> e", "a c d e"),
        ("**bold** and _more_: yes.", "**bold** and _more_: yes."),
        ("$(touch /tmp/x) `id` {{ 7 * 7 }} %s {0}", "$(touch /tmp/x) `id` {{ 7 * 7 }} %s {0}"),
    ],
)
def test_S9_the_title_is_the_text_without_what_was_understood(text: str, title: str) -> None:
    assert read_markers(text).title == title


@given(st.text(max_size=60))
@settings(deadline=None)
def test_S9_any_text_has_a_title_unless_it_is_blank_or_a_comment(text: str) -> None:
    title = read_markers(text, OWNERS).title
    assert title == " ".join(title.split())
    if text.strip() and "<!--" not in text:
        assert title


@given(
    st.lists(st.sampled_from(["🔺", "P0", "⛔ a1", "📅 2026-12-01", "🆔 x", "@coo", "BIZ-1", "(", "`", "word", "字"]))
)
@settings(deadline=None)
def test_S9_marks_in_any_number_and_order_leave_no_stray_text(parts: list[str]) -> None:
    markers = read_markers(" ".join(parts), OWNERS)
    for word in ("word", "字"):
        assert markers.title.count(word) == parts.count(word)


@given(st.text(alphabet="`<!- >ab", max_size=30), st.text(alphabet="ab c-", max_size=10))
def test_T9_an_annotation_leaves_no_trace_in_title_or_content(text: str, note: str) -> None:
    if has_open_comment(text) or ANNOTATION_OPEN in text:
        return
    annotated = f"{text} {ANNOTATION_OPEN} {note.replace('--', '')} -->"
    assert without_annotations(annotated) == " ".join(text.split())
    assert read_markers(annotated).title == read_markers(text).title


@pytest.mark.parametrize(
    "part",
    ["`", "`a``", "<!--", "⛔ ", "blocked by BIZ-1, ", "@coo ", "a-", "[P0]", "deadbeef ", "中", "!", "1 ", "🔺"],
)
def test_S9_a_line_of_a_megabyte_is_read_like_a_short_one(part: str) -> None:
    """What takes quadratic time would take hours here."""
    short, long = read_markers(part * 10, OWNERS), read_markers(part * 100_000, OWNERS)
    assert (long.priority, long.owner, long.blocked, long.depends_on, long.mentions[:1]) == (
        short.priority,
        short.owner,
        short.blocked,
        short.depends_on,
        short.mentions[:1],
    )


def test_names_are_compared_without_regard_to_case_and_width() -> None:
    assert fold(" ＣＯＯ ") == fold("coo")
    assert owner_pattern(["", " "]) is None


DONE = (
    "Done|✅ Done (12)|Completed tasks|Archive 2025|Recently completed|已完成|✅ 已完成（本周）|最近完成|完成|归档|存档"
)
NOT_DONE = (
    "Definition of Done|Not done|To be done|Undone|Incomplete|Things to get done|Complete list|Todo / Done|Abandoned"
    "|未完成|待完成|完成标准|完成登录功能|需完成|归档流程|Archive policy|已完成 80%|Done?|Tasks|部分完成|未归档"
)


@pytest.mark.parametrize("heading", DONE.split("|"))
def test_S9_a_heading_may_say_that_what_follows_is_done(heading: str) -> None:
    assert says_done([heading])


@pytest.mark.parametrize("heading", NOT_DONE.split("|"))
def test_S9_a_heading_that_only_speaks_of_done_does_not(heading: str) -> None:
    assert not says_done([heading])


def test_S9_the_nearest_heading_that_says_anything_decides() -> None:
    assert says_done(["Todo", "Done"])
    assert says_done(["Done", "Backend"])
    assert not says_done(["Done", "未完成"])
    assert not says_done(["Archive", "In progress", "Backend"])
    assert says_priority(["P0", "Backend", "P2", "Login"]) is Priority.NORMAL
    assert not says_done([])


@pytest.mark.parametrize(
    ("heading", "priority"),
    [
        ("P0", Priority.URGENT),
        ("🔥 紧急", Priority.URGENT),
        ("Urgent!", Priority.URGENT),
        ("P0–P1", Priority.URGENT),
        ("P1 - 高", Priority.HIGH),
        ("高优先级", Priority.HIGH),
        ("Priority: high", Priority.HIGH),
        ("High", Priority.HIGH),
        ("中优先级", Priority.NORMAL),
        ("Medium priority", Priority.NORMAL),
        ("优先级：低", Priority.LOW),
        ("Low", Priority.LOW),
        ("重要不紧急", Priority.NONE),
        ("Not urgent", Priority.NONE),
        ("High-level design", Priority.NONE),
        ("P2P", Priority.NONE),
        ("Tasks", Priority.NONE),
    ],
)
def test_S7_a_heading_may_say_how_urgent_what_follows_is(heading: str, priority: Priority) -> None:
    assert says_priority([heading]) is priority
