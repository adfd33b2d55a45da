"""Task lines become items that keep their identity (rules S6, S6a, S7, S9, M3, T9)."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat.action import Voice, signed
from heartbeat.systems.base import Translated
from heartbeat.systems.todo.edit import annotate
from heartbeat.systems.todo.items import MAXIMUM_TITLE, TaskFile, owners_of, translate
from heartbeat.systems.todo.markdown import read_tasks
from heartbeat.task import NOBODY, Dependency, DependencyKind, Item, Owner, OwnerKind, Priority, Status
from tests.support.markdown_texts import files
from tests.support.rosters import make_agent, make_coo, make_roster

ROSTER = make_roster(make_coo(), make_agent("designer", name="苏锦绘"), make_agent("writer"))
OWNERS = owners_of(ROSTER)
MARKER = "0123456789ab"


def translated(
    text: str | bytes, *, agents: tuple[str, ...] = ("coo",), path: str = "TODO.md", bullets: bool = False
) -> Translated:
    data = text if isinstance(text, bytes) else text.encode()
    return translate([TaskFile(agents, path, read_tasks(data, bullets=bullets))], OWNERS)


def items(text: str | bytes, **options: object) -> tuple[Item, ...]:
    return translated(text, **options).items  # type: ignore[arg-type]


def item(text: str) -> Item:
    (only,) = items(text)
    return only


def codes(text: str | bytes, **options: object) -> list[str]:
    return [finding.code for finding in translated(text, **options).findings]  # type: ignore[arg-type]


def test_S9_an_item_has_all_that_its_line_says() -> None:
    text = "# P1\n- [/] @designer BIZ-31 Pay 📅 2026-12-01 🆔 pay ⛔ a1 (3f2a9c1e)\n"
    assert item(text) == Item(
        ref=item(text).ref,
        key="pay",
        title="BIZ-31 Pay (3f2a9c1e)",
        status=Status.IN_PROGRESS,
        raw_status="[/]",
        priority=Priority.HIGH,
        owner=Owner(OwnerKind.AGENT, "designer"),
        due=date(2026, 12, 1),
        location="coo/TODO.md:2",
        revision=item(text).revision,
        aliases=("pay",),
        mentions=("BIZ-31", "3f2a9c1e"),
        depends_on=(Dependency(DependencyKind.EXPLICIT, "a1"),),
    )
    assert str(item(text).ref) == "todo:coo/TODO.md#pay"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("- [ ] a", Status.TODO),
        ("- [\t] a", Status.TODO),
        ("- [x] a", Status.DONE),
        ("- [X] a", Status.DONE),
        ("- [/] a", Status.IN_PROGRESS),
        ("- [🚧] a", Status.IN_PROGRESS),
        ("- [ ] 🚧 a", Status.IN_PROGRESS),
        ("- [-] a", Status.CANCELLED),
        ("- [!] a", Status.BLOCKED),
        ("- [⛔\ufe0f] a", Status.BLOCKED),
        ("- [ ] ⛔ a", Status.BLOCKED),
        ("- [/] a ⛔", Status.BLOCKED),
        ("- [ ] a ⛔ b1", Status.TODO),
        ("- [x] a ⛔ 🚧", Status.DONE),
        ("- [?] a", Status.UNKNOWN),
        ("- [✓] a", Status.UNKNOWN),
        ("- [>] 🚧 a ⛔", Status.UNKNOWN),
    ],
)
def test_S6_the_box_and_its_marks_say_the_status(line: str, status: Status) -> None:
    assert item(line).status is status
    assert item(line).raw_status == line[line.index("[") : line.index("]") + 1]


@pytest.mark.parametrize(
    ("box", "status"),
    [
        (" ", Status.DONE),
        ("x", Status.DONE),
        ("/", Status.IN_PROGRESS),
        ("!", Status.BLOCKED),
        ("-", Status.CANCELLED),
        ("?", Status.UNKNOWN),
    ],
)
def test_S9_under_a_done_heading_an_open_box_is_done_and_an_explicit_mark_stands(box: str, status: Status) -> None:
    found = translated(f"# 已完成\n- [{box}] a\n")
    assert found.items[0].status is status
    assert [finding.code for finding in found.findings] == (["todo-under-done"] if box == " " else [])


def test_S7_the_lines_own_priority_beats_its_headings() -> None:
    text = "# P0\n- [ ] a\n- [ ] b 🔽\n## 低优先级\n- [ ] c\n# Other\n- [ ] d\n"
    assert [found.priority for found in items(text)] == [
        Priority.URGENT,
        Priority.LOW,
        Priority.LOW,
        Priority.NONE,
    ]


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("", Owner(OwnerKind.AGENT, "coo")),
        ("@writer", Owner(OwnerKind.AGENT, "writer")),
        ("@苏锦绘", Owner(OwnerKind.AGENT, "designer")),
        ("@Vincent", Owner(OwnerKind.PERSON, "Vincent")),
        ("@operator", Owner(OwnerKind.PERSON, "Vincent")),
        ("@somebody", Owner(OwnerKind.AGENT, "coo")),
    ],
)
def test_S6a_the_owner_is_who_is_named_else_the_workspaces_agent(name: str, owner: Owner) -> None:
    assert item(f"- [ ] a {name}").owner == owner


def test_S6a_an_agents_id_beats_another_ones_name_and_the_operators() -> None:
    roster = make_roster(make_agent("ann", name="writer"), make_agent("writer", name="vincent"))
    by_name = owners_of(roster).by_name
    assert by_name["writer"] == Owner(OwnerKind.AGENT, "writer")
    assert by_name["vincent"] == Owner(OwnerKind.AGENT, "writer")
    assert by_name["ann"] == Owner(OwnerKind.AGENT, "ann")


def test_S6a_unknown_names_are_told_once_a_file() -> None:
    found = translated("- [ ] a @bob\n- [ ] b @ann @bob\n")
    assert [(finding.code, len(finding.refs)) for finding in found.findings] == [("todo-stranger", 3)]
    assert "bob, ann" in found.findings[0].message
    assert "lines 1, 2" in found.findings[0].message


def test_S6a_a_name_that_only_looks_like_an_agents_is_a_strangers() -> None:
    found = translated("- [ ] a @wrıter\n")
    assert found.items[0].owner == Owner(OwnerKind.AGENT, "coo")
    assert [finding.code for finding in found.findings] == ["todo-stranger"]


def test_S6a_in_a_shared_workspace_a_line_without_a_name_is_nobodys() -> None:
    found = translated("- [ ] a\n- [ ] b @coo\n- [ ] c @writer\n", agents=("coo", "designer"))
    assert [found.owner for found in found.items] == [
        NOBODY,
        Owner(OwnerKind.AGENT, "coo"),
        Owner(OwnerKind.AGENT, "writer"),
    ]
    assert [(finding.code, finding.refs) for finding in found.findings] == [("todo-shared", (found.items[0].ref,))]
    assert [found.location for found in found.items] == ["coo/TODO.md:1", "TODO.md:2", "coo/TODO.md:3"]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("- [ ] a 🆔 x1", "x1"),
        ("- [ ] BIZ-31 a", "BIZ-31"),
        ("- [ ] BIZ-31 a 🆔 x1", "x1"),
        ("- [ ] a", "docs/TODO.md:3"),
    ],
)
def test_S9_people_call_an_item_by_its_mark_else_by_its_place(line: str, key: str) -> None:
    (found,) = items(f"\n\n{line}", path="docs/TODO.md")
    assert found.key == key
    assert found.location == "docs/TODO.md:3"
    assert found.aliases == (("x1",) if "🆔" in line else ())


@pytest.mark.parametrize(
    "changed",
    [
        "- [x] Write the report",
        "* [/] write  the REPORT",
        "1. [ ] Write the **report**",
        "- [ ] Write the report 🔺 📅 2026-12-01 @designer",
        "- [ ] (A) Write the report ⛔ a1",
        "- [x] Write the report ✅ 2026-11-20",
        "- [ ] Write the report <!-- heartbeat: seen -->",
        "- [ ] Write the report <!-- a person's note -->",
        "# P0\n\n# \n- [ ] Write the report",
    ],
)
def test_M3_ticking_and_marking_a_line_keeps_its_identity(changed: str) -> None:
    if changed.startswith("# P0"):
        assert item(changed).ref != item("- [ ] Write the report").ref, "another heading is another place"
        return
    assert item(changed).ref == item("- [ ] Write the report").ref


def test_M3_an_own_mark_outlives_any_rewording_and_any_move() -> None:
    before = item("- [ ] Write the report 🆔 r1")
    after = item("# 已完成\n- [x] Report, second attempt 🆔 r1")
    assert after.ref == before.ref
    assert after.revision != before.revision
    assert item("- [ ] BIZ-31 a").ref == item("# B\n- [x] BIZ-31 b").ref


def test_M3_equal_lines_are_told_apart_by_their_order() -> None:
    text = "- [ ] a\n- [ ] a\n# H\n- [ ] a\n"
    refs = [found.ref for found in items(text)]
    assert len(set(refs)) == 3
    assert [found.ref for found in items("- [ ] b\n" + text)][1:] == refs


def test_M3_of_lines_with_the_same_mark_the_first_keeps_it() -> None:
    found = translated("- [ ] BIZ-31 code\n- [ ] BIZ-31 tests\n- [ ] a 🆔 x\n- [ ] b 🆔 X\n")
    ids = [one.ref.id for one in found.items]
    assert ids[0] == "coo/TODO.md#BIZ-31"
    assert ids[1].startswith("coo/TODO.md#BIZ-31~")
    assert ids[2] == "coo/TODO.md#x"
    assert len(set(ids)) == 4
    assert [finding.code for finding in found.findings] == ["todo-repeated-id"]


@given(files(), st.sampled_from(["- [ ] something else entirely", "text", "- bullet", ""]))
@settings(max_examples=200, deadline=None)
def test_M3_a_line_above_changes_no_identity(data: bytes, line: str) -> None:
    content = data.removeprefix(b"\xef\xbb\xbf")
    before = items(content)
    after = items(line.encode() + b"\n\n<!-- -->\n\n" + content)
    kept = after[len(after) - len(before) :]
    assert [found.ref for found in kept] == [found.ref for found in before]
    assert [found.revision for found in kept] == [found.revision for found in before]


@given(files())
@settings(max_examples=200, deadline=None)
def test_S10_every_task_line_with_text_is_exactly_one_item(data: bytes) -> None:
    found = translated(data)
    lines = read_tasks(data).tasks
    blank = sum(finding.code == "todo-blank" for finding in found.findings)
    assert len({one.ref for one in found.items}) == len(found.items) <= len(lines)
    assert (len(found.items) < len(lines)) == bool(blank)
    for one in found.items:
        one.ref.id.encode()
        one.title.encode()


@given(files(), st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_T9_our_annotation_changes_neither_identity_nor_revision_nor_anything(data: bytes, note: str) -> None:
    tasks = read_tasks(data).tasks
    if not tasks:
        return
    line = data[tasks[0].start : tasks[0].end]
    if b"<!--" in line:
        return
    annotated = data[: tasks[0].start] + annotate(line, note) + data[tasks[0].end :]
    assert items(annotated) == items(data)


def test_T9_a_persons_comment_is_a_change_of_content() -> None:
    plain, noted = item("- [ ] a"), item("- [ ] a <!-- asked Ann -->")
    assert plain.ref == noted.ref
    assert plain.revision != noted.revision


def test_T2_what_an_agent_says_through_us_is_a_change_of_content_and_what_we_say_is_none() -> None:
    plain = item("- [/] a")
    ours = item(f"- [/] a <!-- heartbeat: {signed('看一下', MARKER)} -->")
    theirs = item(f"- [/] a <!-- heartbeat: {signed('在做', MARKER, Voice.AGENT)} -->")
    again = item(f"- [/] a <!-- heartbeat: {signed('还在做', MARKER, Voice.AGENT)} -->")
    assert ours == plain
    assert len({plain.revision, theirs.revision, again.revision}) == 3
    assert {one.ref for one in (plain, theirs, again)} == {plain.ref}
    assert {one.title for one in (plain, theirs, again)} == {"a"}


def test_S9_the_revision_follows_status_priority_and_words() -> None:
    lines = ("- [ ] a", "- [x] a", "- [ ] a 🔺", "- [ ] a.", "# P0\n- [ ] a", "- [ ] a ⛔ b1")
    assert len({item(line).revision for line in lines}) == len(lines)


def test_S9_a_file_without_tasks_is_told_in_numbers() -> None:
    text = "# Work\n" + "- **bold**\n" * 31 + "text\n" * 72
    (finding,) = translated(text).findings
    assert finding.code == "todo-no-tasks"
    assert finding.message.startswith("coo: 0 tasks read from TODO.md, 104 lines, 31 bullets without checkboxes")
    assert codes("- one\n- two\n", bullets=True) == []
    assert codes("") == []


def test_S9_instructions_need_not_hold_tasks() -> None:
    assert codes("# Rules\n\n- be kind\n", path="AGENTS.md") == []
    assert codes("-[ ] be kind\n", path="docs/agents.MD") == ["todo-near-miss"]


def test_S9_near_misses_blank_boxes_and_foreign_bytes_are_told_with_their_lines() -> None:
    found = translated(b"- [ ] a\n- [ ]\n-[ ] b\n\n-[x] c \xff\n- [ ] <!-- gone -->\n")
    assert {finding.code: finding.message for finding in found.findings} == {
        "todo-blank": "coo/TODO.md: checkboxes without text are no tasks (lines 2, 6)",
        "todo-near-miss": "coo/TODO.md: 2 lines with a checkbox that Markdown does not take for a task (lines 3, 5); "
        "a task is written `- [ ] …`, on a line of its own",
        "todo-not-utf8": "coo/TODO.md: not all of it is UTF-8; what is not shows as �. Save it as UTF-8",
    }


def test_S9_unread_marks_and_depth_are_told() -> None:
    found = translated("- [ ] a 📅 soon\n\n" + "- " * 300 + "x\n")
    messages = {finding.code: finding.message for finding in found.findings}
    assert messages["todo-unread"] == "coo/TODO.md: markers that could not be read: 📅 soon (line 1)"
    assert messages["todo-too-deep"].startswith("coo/TODO.md:3: ")


def test_S9_long_lists_of_lines_are_cut() -> None:
    (finding,) = translated("# Done\n" + "- [ ] a\n" * 20).findings
    assert "(lines 2, 3, 4, 5, 6, 7, 8, 9 and 12 more)" in finding.message
    assert len(finding.refs) == 20


@pytest.mark.parametrize("text", ["- ~~old~~\n", "- ~~old~~ ✅ 2026-11-01\n", "1. ~~old~~（已完成）\n", "* ~~old~~.\n"])
def test_S9_a_struck_bullet_is_done(text: str) -> None:
    (found,) = items(text, bullets=True)
    assert (found.title, found.status, found.raw_status) == ("old", Status.DONE, "-")
    assert found.ref == items("- old\n", bullets=True)[0].ref


@pytest.mark.parametrize("text", ["- old\n", "- ~~old~~ new\n", "- ~~old~~ and ~~older~~ gone\n"])
def test_S9_other_bullets_are_to_do(text: str) -> None:
    (found,) = items(text, bullets=True)
    assert found.status is Status.TODO


def test_S9_a_title_of_a_megabyte_is_cut_and_still_tells_items_apart() -> None:
    long = "word " * 200_000
    first, second = items(f"- [ ] {long} one\n- [ ] {long} two\n")
    assert first.title == second.title
    assert len(first.title) == MAXIMUM_TITLE
    assert first.ref != second.ref
    assert first.revision != second.revision


def test_B8_nothing_in_a_line_is_executed() -> None:
    hostile = "$(touch pwned) `touch pwned` {{ 7 * 7 }} ${HOME} %(x)s {0.__class__} --force; rm -rf ."
    assert item(f"- [ ] {hostile}").title == hostile
