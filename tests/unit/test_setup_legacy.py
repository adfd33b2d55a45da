"""A hand-written file that contradicts itself, is cut off, or is none: what is chosen, and what is said about it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from heartbeat.setup.legacy import HandWritten, Refused, parse
from heartbeat.setup.phrases import meaning
from heartbeat.setup.segments import segments
from tests.support.hand_written import CREW, write

BROKER = write(next(sheet for sheet in CREW if sheet.id == "broker"))


def one(text: str) -> HandWritten:
    files, refused = parse("f.md", text)
    assert refused == ()
    (file,) = files
    return file


def why(text: str) -> str:
    files, refused = parse("f.md", text)
    assert files == ()
    (only,) = refused
    return only.why


def notes(text: str) -> list[str]:
    return [note.message for note in one(text).notes]


def line_of(text: str, words: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if words in line)


def test_a_file_says_who_it_is_about_and_where_each_number_stands() -> None:
    file = one(BROKER)
    assert (file.id, file.name, file.class_id) == ("broker", "易安", "business")
    assert file.said["every"] == timedelta(minutes=15)
    assert file.lines["every"] == line_of(BROKER, "心跳频率")
    assert file.notes == ()


CONTRADICTIONS = [
    ("超过 30 分钟无进展", "超过 25 分钟无进展", "suspect_after 30m here, 25m on line {a}; line {a} counts"),
    ("接近 80%（24 轮）", "接近 80%（25 轮）", "25 rounds are not 80 % of the 30 on line {b}, which count"),
    ("接近 80%（24 轮）", "接近 90%（27 轮）", "90 % is not to be set: heartbeat warns at 80 %"),
    (
        "status=blocked → 通知 创建者",
        "status=blocked → 通知 COO",
        "notify [coo] here, [creator] on line {c}; line {c} counts",
    ),
    (
        "## 轮次\n",
        "## 轮次\n\n9 点重启 4 台机器。\n",
        "9, 4: not understood as a setting, and not taken over: 9 点重启 4 台机器。",
    ),
    ("没完成就不认领", "待办超过 8 个", "8 is not to be set: heartbeat has 5 (above so many a backlog is told)"),
    ("agentId') == 'broker'", "agentId') == 'cook'", "speaks of the agent cook, the file is about broker"),
    ("ID: `broker`", "ID: `brokers`", "the id here is brokers, the heading says broker; this one counts"),
    ("心跳频率：15 分钟", "心跳频率：0 分钟", "every of 0s is none that can be used"),
    ("限制值：30 轮", "限制值：0 轮", "max_rounds of 0 is none that can be used"),
    ("分类：业务 Agent", "分类：后勤 Agent", "the class '后勤 Agent' is none that heartbeat knows"),
]


@pytest.mark.parametrize(("old", "new", "told"), CONTRADICTIONS)
def test_what_contradicts_itself_or_means_nothing_is_noted_with_what_counts(old: str, new: str, told: str) -> None:
    text = BROKER.replace(old, new, 1)
    assert text != BROKER
    places = {"a": line_of(text, "疑似超时"), "b": line_of(text, "限制值"), "c": line_of(text, "release claim")}
    assert told.format(**places) in notes(text)


def test_a_note_names_the_line_that_it_is_about() -> None:
    text = BROKER.replace("if age > 1800:", "if age > 1200:")
    (note,) = one(text).notes
    assert note.line == line_of(text, "if age >")
    assert note.message.startswith("suspect_after 20m here, 30m on line ")


def test_a_script_in_step_with_the_sentence_is_no_contradiction_and_one_alone_counts() -> None:
    assert one(BROKER).notes == ()
    alone = "\n".join(line for line in BROKER.splitlines() if "疑似超时" not in line)
    assert one(alone).said["suspect_after"] == timedelta(minutes=30)


def test_another_uuid_in_a_script_is_noted_and_a_broken_one_left_out() -> None:
    (uuid,) = {word for word in BROKER.replace("`", " ").split() if word.count("-") == 4 and len(word) == 36}
    other = uuid.replace("0a5e", "0a5f")
    swapped = BROKER.replace(f"--assignee-id {uuid}", f"--assignee-id {other}")
    assert notes(swapped) == [f"asks Multica for {other}; {uuid} counts"]
    broken = BROKER.replace(f"UUID: `{uuid}`", f"UUID: `{uuid[:-3]}`")
    assert one(broken).multica_id == ""
    assert f"{uuid[:-3]!r} is no UUID and is left out" in notes(broken)


TABLES = """# HEARTBEAT.md - 何缆（rigger）的心跳配置

> 分类：开发 Agent

| Agent 类型 | 心跳频率 | 单任务超时 |
|------|------|------|
| 高频(coo/pilot) | 10 分钟 | 60 分钟 |
| 开发(keel/rigger) | 20 分钟 | 120 分钟 |
| 业务(其他 Agent) | 15 分钟 | 90 分钟 |

| Agent 类型 | 最大对话轮次 | 超限处理 |
|------|------|------|
| 高频 | 50 | 自动暂停，通知创建者 |
| 开发 | 80 | 自动暂停，通知 COO |
| 业务 | 30 | 自动暂停，通知创建者 |

| 参数 | 高频 Agent | 开发 Agent | 业务 Agent |
|------|------|------|------|
| 超时告警阈值 | 20 分钟无进展 | 35 分钟无进展 | 30 分钟无进展 |
| 自动恢复等待 | 30 分钟后重新调度 | 55 分钟后重新调度 | 45 分钟后重新调度 |

- **高频 Agent（coo）**：等待阈值 1h
- **开发 Agent（其他）**：等待阈值 3h
"""


def test_of_a_table_by_class_only_the_own_row_or_column_counts() -> None:
    file = one(TABLES)
    assert file.said == {
        "every": timedelta(minutes=20),
        "runtime_limit": timedelta(minutes=120),
        "max_rounds": 80,
        "notify": ("coo",),
        "suspect_after": timedelta(minutes=35),
        "recover_after": timedelta(minutes=55),
        "dependency_wait": timedelta(hours=3),
    }
    assert [note.message for note in file.notes] == [
        "speaks of others (lines 7, 9, 13, 15, 19-20, 22); their numbers are not this agent's",
        "no value was read for checks: the class decides",
    ]


def test_a_row_that_names_the_agent_counts_more_than_its_class() -> None:
    text = TABLES.replace("高频(coo/pilot)", "高频(rigger)").replace("开发(keel/rigger)", "开发(keel)")
    file = one(text)
    assert file.said["every"] == timedelta(minutes=10)
    assert any("every 20m here, 10m on line 7; line 7 counts" in note.message for note in file.notes)


CHECKLIST = """# HEARTBEAT.md - 丈量 (surveyor)

> OpenClaw Agent ID: surveyor

## 🛡️ 稳定性保障清单

1. ✅ 超时检测：检查 in_progress 任务是否超时（阈值 120 分钟）
2. ✅ 依赖检查：新任务认领前检查
3. ✅ 轮次检查：当前任务是否接近 100 轮上限
4. ✅ 文件大小是否 < 5KB
- [ ] 潮位 7 点
"""


def test_common_checks_hold_numbers_and_own_checks_are_taken_as_they_are() -> None:
    file = one(CHECKLIST)
    assert file.checks == ("文件大小是否 < 5KB", "潮位 7 点")
    assert file.said == {"runtime_limit": timedelta(minutes=120), "max_rounds": 100}
    assert [note.message for note in file.notes] == [
        "no class was read: what the agent is called decides",
        "no value was read for every, suspect_after, recover_after, dependency_wait, notify: the class decides",
    ]


def test_a_file_that_was_cut_off_gives_what_it_still_says_and_a_note() -> None:
    cut = BROKER[: BROKER.index("    if age")]
    file = one(cut)
    assert file.said["every"] == timedelta(minutes=15)
    assert [note.message for note in file.notes] == [
        "this block of code is not closed: the file may have been cut off",
        "no value was read for recover_after, dependency_wait, max_rounds, notify, checks, runtime_limit: "
        "the class decides",
    ]
    assert one(BROKER.splitlines()[0]).id == "broker"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it has no heading"),
        ("# 说明\n\n心跳频率：10 分钟\n", "it has no heading"),
        ("# HEARTBEAT.md\n\n# Keep this file empty\n", "it names no agent"),
        ("# HEARTBEAT.md - [Agent Name] 的心跳配置\n", "it is a template with placeholders"),
        ("# HEARTBEAT.md 增强模板\n\n> 版本：v2.0\n", "it names no agent"),
        ("# HEARTBEAT.md - 甲（../etc）\n", "'../etc' is no agent's id"),
        ("# HEARTBEAT.md - 甲（甲）\n", "'甲' is no agent's id"),
        ("<!-- heartbeat:begin agent=coo -->\n# HEARTBEAT.md · 甲（coo）\n", "heartbeat wrote it"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_the_reason(text: str, told: str) -> None:
    assert why(text).startswith(told)


def test_an_id_in_capitals_is_the_one_that_openclaw_has() -> None:
    file = one("# HEARTBEAT.md - 甲（COO）\n")
    assert file.id == "coo"
    assert file.notes[0].message == "the id is written COO; coo counts"


@pytest.mark.parametrize("newline", ["\r\n", "\r", "\n"])
def test_line_endings_and_a_byte_order_mark_change_nothing(newline: str) -> None:
    assert one("\ufeff" + BROKER.replace("\n", newline)) == one(BROKER)


def test_a_diff_of_many_files_is_read_like_the_files() -> None:
    sheets = [sheet for sheet in CREW if sheet.class_id == "business"]
    parts = []
    for sheet in sheets:
        lines = write(sheet).splitlines()
        parts += [
            f"diff --git a/{sheet.id} b/{sheet.id}",
            f"@@ -0,0 +1,{len(lines)} @@",
            *(f"+{line}" for line in lines),
        ]
    files, refused = parse("d.diff", "\n".join(parts))
    assert refused == ()
    assert [(file.id, dict(file.said)) for file in files] == [
        (sheet.id, dict(one(write(sheet)).said)) for sheet in sheets
    ]
    assert [note for file in files for note in file.notes] == []


def test_what_stands_around_the_files_of_a_document_is_none_of_theirs() -> None:
    text = (
        f"# 全员\n\n心跳频率：1 分钟\n\n````markdown\n{BROKER}````\n\n心跳频率：2 分钟\n\n# 附录\n\n心跳频率：3 分钟\n"
    )
    (part,) = segments(text)
    assert part.lines[-1].written.startswith("> 由")
    assert one(text).notes == ()


def test_in_a_block_of_code_nothing_is_a_heading_or_the_end() -> None:
    text = BROKER.replace("cards = [", "# HEARTBEAT is no title here\n@@ -1 +1 @@\ncards = [")
    assert one(text).said == one(BROKER).said


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("1. 第 2 次超时：通知 COO", ()),
        ("> v1.1 (BIZ-24) 2026-06-22 10:30", ()),
        ("### 4.2 检查", ()),
        ("3 轮无产出", ()),
        ("共 12 台，其中 3 台在线", ("12", "3")),
    ],
)
def test_ordinals_dates_and_tickets_are_no_numbers_and_all_others_are(line: str, left: tuple[str, ...]) -> None:
    assert meaning(line).left == left


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90 秒", 90), ("1 小时 30 分钟", 5400), ("1.5h", 5400), ("2h", 7200), ("45min", 2700), ("１５　分钟", 900)],
)
def test_times_are_read_in_every_unit_that_people_write(text: str, seconds: int) -> None:
    file = one(f"# HEARTBEAT.md - 甲（a）\n\n## 心跳频率：{text}\n")
    assert file.said["every"] == timedelta(seconds=seconds)


def test_refusals_name_the_line_where_the_part_begins() -> None:
    files, refused = parse("f.md", f"{BROKER}\n# HEARTBEAT.md - [X]\n")
    assert [file.id for file in files] == ["broker"]
    assert refused == (
        Refused("f.md", len(BROKER.splitlines()) + 2, "it is a template with placeholders, and about no agent"),
    )


HEAD = "# HEARTBEAT.md - 甲（a）\n> 分类：业务 Agent\n"
UUID = "1c38b437-b54d-4784-bda3-29ce4c8a6722"


def messages(body: str, head: str = HEAD) -> list[str]:
    """The notes of a file, but for those about what it does not say."""
    return [told for told in notes(head + body) if not told.startswith("no value was read for")]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("- 心跳频率 10 分钟 → 15 分钟", "10 分钟 → 15 分钟: several values where one is meant; none is taken over"),
        ("- 限制值：20~30 轮", "20~30 轮: several values where one is meant; none is taken over"),
        (
            "- 超时阈值：20 分钟",
            "20 分钟: runtime_limit or suspect_after? Which one is meant is not said, and neither is taken over",
        ),
        ("## 心跳频率：20", "20: not understood as a setting, and not taken over: ## 心跳频率:20"),
        ("- ~~限制值：9 轮~~", "struck out or in a comment, and not taken over: ~~限制值:9 轮~~"),
        ("接近 80%（24 轮）→ 预警", "24 rounds are 80 % of a limit that was not read"),
        ("| 心跳频率 | " + "，".join(map(str, range(10, 19))) + " |", None),
    ],
)
def test_what_is_not_taken_over_is_named_whole_and_for_the_true_reason(line: str, told: str | None) -> None:
    (message,) = messages(f"{line}\n")
    assert message == told or (told is None and all(str(number) in message for number in range(10, 19)))


def test_a_row_of_values_below_their_settings_has_a_setting_for_each() -> None:
    rows = "| 心跳频率 | 疑似超时 | 最大轮次 | 依赖等待 |\n|---|---|---|---|\n| 20 分钟 | 40 分钟 | 50 | 12h |\n"
    assert one(HEAD + rows).said == {
        "every": timedelta(minutes=20),
        "suspect_after": timedelta(minutes=40),
        "max_rounds": 50,
        "dependency_wait": timedelta(hours=12),
    }
    assert messages(rows) == []
    assert one(HEAD + rows + "| 21 分钟 | 41 分钟 | 51 | 13h |\n").said == {}, "nothing tells whose row is whose"
    assert len(messages(rows + "| 21 分钟 | 41 分钟 | 51 | 13h |\n")) == 8


@pytest.mark.parametrize(
    "line",
    [
        f"> Multica UUID: `{UUID}`",
        f"> Multica ID：{UUID}",
        f"> Multica Agent ID: {UUID.upper()}",
        f"> UUID: {UUID.replace('-', '')}",
        f"> OpenClaw Agent ID: `a` | Multica Agent UUID: `{UUID}`",
    ],
)
def test_a_uuid_is_known_under_every_label_that_means_the_agent(line: str) -> None:
    file = one(f"{HEAD}{line}\n")
    assert (file.id, file.multica_id) == ("a", UUID)
    assert messages(f"{line}\n") == []


def test_a_uuid_of_something_else_or_further_down_is_noted_and_not_taken() -> None:
    for body in (f"> Workspace UUID: {UUID}\n", f"{chr(10) * 15}Multica Agent UUID: {UUID}\n", f"项目 {UUID}\n"):
        assert one(HEAD + body).multica_id == ""
        assert messages(body) == [f"names the UUID {UUID}; none counts: the head of the file has no UUID"]


def test_every_other_id_and_uuid_of_the_head_is_noted() -> None:
    other = UUID.replace("1c", "2c")
    body = f"> Agent ID: `a`, `b` / c\n> Agent ID: `d`\n> Agent UUID: {UUID}\n> Multica ID: {other}\n"
    assert one(HEAD + body).multica_id == UUID
    assert messages(body) == [
        "the id here is b, too; a counts",
        "the id here is c, too; a counts",
        "the id here is d, too; a counts",
        f"names the UUID {other}; {UUID} counts",
    ]


@pytest.mark.parametrize(
    ("line", "class_id"),
    [
        ("> 分类：开发 Agent", "developer"),
        ("> 类别：高频", "high_frequency"),
        ("> Agent 类型: `业务`", "business"),
        ("> Class: developer", "developer"),
        ("> 说明", None),
    ],
)
def test_the_class_stands_under_several_labels_and_its_lack_is_told(line: str, class_id: str | None) -> None:
    text = f"# HEARTBEAT.md - 甲（a）\n{line}\n"
    assert one(text).class_id == class_id
    assert ("no class was read: what the agent is called decides" in notes(text)) is (class_id is None)


def test_a_class_that_is_named_twice_is_noted() -> None:
    text = f"{HEAD}> 分类：开发 Agent\n"
    assert one(text).class_id == "business"
    assert "the class is developer here, business on line 2, which counts" in notes(text)


CHECKS = f"""{HEAD}
## 心跳执行清单

1. ✅ 依赖检查：先问架构师李四
2. ✅ 三源检查以外，再看邮箱
3. ✅ 检查 A
   并且通知王五
4. ✅ 依赖检查（跨平台）
5. ✅ {"长" * 450}尾 7
"""


def test_an_agents_own_words_behind_a_common_check_and_on_its_next_lines_are_kept() -> None:
    file = one(CHECKS)
    assert file.checks[:3] == ("依赖检查：先问架构师李四", "三源检查以外，再看邮箱", "检查 A 并且通知王五")
    assert file.checks[3] == "长" * 399 + "…"
    (lost,) = [note for note in file.notes if "cut" in note.message]
    assert lost.line == line_of(CHECKS, "尾 7")
    told = "a check is cut, as it is longer than 400 characters; not taken over: "
    assert lost.message == told + "长" * 51 + "尾 7"


def test_a_line_that_is_too_long_to_be_read_is_told() -> None:
    assert messages("x" * 4001 + " 30 分钟\n") == ["longer than 4000 characters; what is behind them was not read"]


def test_numbers_of_the_agents_name_are_none_and_its_mere_number_is_one() -> None:
    head = "# HEARTBEAT.md - 一号（1）\n> 分类：业务 Agent\n> OpenClaw Agent ID: `1`\n"
    assert messages("由 一号（1）负责\n", head) == []
    assert messages("泊位 1 个\n", head) == ["1: not understood as a setting, and not taken over: 泊位 1 个"]
    named = HEAD.replace("（a）", "（dev2）")
    assert messages("由 dev2 负责\n", named) == []


def said(sentence: str) -> dict[str, object]:
    return dict(one(f"# HEARTBEAT.md - 甲（agent7）\n> 分类：业务 Agent\n{sentence}\n").said)


@pytest.mark.parametrize(
    ("words", "minutes"),
    [
        ("每一小时", 60), ("每一个小时", 60), ("每一小时一次", 60), ("每个小时", 60), ("每小时", 60), ("每一分钟", 1),
        ("每一刻钟一次", 15), ("每刻钟", 15), ("每一个半小时一次", 90), ("每天", 1440), ("每一天一次", 1440),
    ],
)  # fmt: skip
def test_a_rhythm_of_one_unit_is_read_however_the_one_is_written(words: str, minutes: int) -> None:
    every = {"every": timedelta(minutes=minutes)}
    assert said(f"心跳间隔：{words}") == every
    assert said(f"| 心跳频率 | {words} |") == every


@pytest.mark.parametrize("sentence", ["每小时触发一次心跳", "每一小时心跳一次", "业务 Agent：每小时"])
def test_a_sentence_about_every_hour_is_a_rhythm(sentence: str) -> None:
    assert said(sentence) == {"every": timedelta(hours=1)}


@pytest.mark.parametrize(
    "sentence",
    [
        "心跳间隔：每小时 3 次", "心跳间隔：每小时两次", "心跳间隔：每 1 小时触发 12 次", "心跳间隔：每个半小时",
        "| 心跳频率 | 每小时 3 次 |", "| 心跳频率 | 每小时两次 |", "每小时汇报一次", "检查磁盘，每天一次",
    ],
)  # fmt: skip
def test_several_beats_in_a_time_and_a_time_of_something_else_are_noted_and_not_read(sentence: str) -> None:
    text = f"# HEARTBEAT.md - 甲（agent7）\n> 分类：业务 Agent\n{sentence}\n"
    assert one(text).said == {}
    assert any("not understood as a setting" in note for note in notes(text))


@pytest.mark.parametrize(
    ("sentence", "minutes"),
    [
        ("疑似停滞：40 分钟", 40), ("疑似停滞：一个半小时", 90), ("疑似停滞：超过40 分钟", 40),
        ("疑似停滞 > 40 分钟", 40),
        ("疑似停滞阈值：40 分钟", 40), ("疑似停滞：超过40 分钟无进展", 40), ("疑似超时：40 分钟", 40),
    ],
)  # fmt: skip
def test_the_time_behind_a_suspicion_is_read_with_and_without_a_word_between(sentence: str, minutes: int) -> None:
    assert said(sentence) == {"suspect_after": timedelta(minutes=minutes)}


@pytest.mark.parametrize("sentence", ["疑似停滞：40 分钟后重新调度", "疑似停滞，40 分钟后再释放"])
def test_the_time_of_what_follows_a_suspicion_is_not_its_own(sentence: str) -> None:
    text = f"# HEARTBEAT.md - 甲（agent7）\n> 分类：业务 Agent\n{sentence}\n"
    assert one(text).said == {}
    assert any(note.startswith("40: not understood") for note in notes(text))
