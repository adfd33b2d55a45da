"""`init --from`: every number of a hand-written file is in the roster that is made of it, or named in a note with
`file:line`, however the file is written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat.instants import exact_duration, parse_duration
from heartbeat.roster.model import Agent
from heartbeat.setup.legacy import parse
from tests.support.hand_written import CREW, write
from tests.support.naive_numbers import Found, each_as_one, numbers_in
from tests.unit.test_setup_taken_over import DEPLOYED, taken_over

VARIANTS = Path(__file__).with_name("hand_written")

SETTINGS = ("every", "suspect_after", "recover_after", "runtime_limit", "dependency_wait")


def accounted(found: Found, agent: Agent, notes: Sequence[tuple[int, str]]) -> bool:
    """Whether a number is in the roster, or in a note about its line."""
    here = [each_as_one(unicodedata.normalize("NFKC", message)) for line, message in notes if line == found.line]
    if any(_names(message, found) for message in here) or any(_covers(message, found.line) for _, message in notes):
        return True
    held = {getattr(agent.policy, name).total_seconds() for name in SETTINGS}
    limit = agent.policy.max_rounds
    rounds = {float(limit), 80.0, 3.0, 5.0, float(limit * 80 // 100)}
    values = {
        *(held if found.seconds is not None else ()),
        *(rounds if found.seconds is None else ()),
        *(each / unit for each in held for unit in (1, 60, 3600) if found.seconds is None),
    }
    number = found.value if found.seconds is None else found.seconds
    if number is not None and any(abs(number - each) < 1e-6 for each in values):
        return True
    texts = (agent.id, agent.name, agent.multica_id or "", *agent.checks)
    return any(found.written in unicodedata.normalize("NFKC", text) for text in texts)


def _names(message: str, found: Found) -> bool:
    words = [re.escape(found.written), *map(re.escape, _apart(found.written))]
    message = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", message)
    if found.value is not None:
        words.append(re.escape(f"{found.value:.10g}"))
    if found.seconds is not None:
        words.append(re.escape(exact_duration(timedelta(seconds=found.seconds))))
        words.append(re.escape(f"{found.value or 0:g}.5"))
    return re.search(rf"(?<![\d.])(?:{'|'.join(words)})(?![\d.]\d|\d)", message) is not None


def _apart(written: str) -> Sequence[str]:
    """`1 小时 30 分钟` by its first number: a note may name the parts."""
    parts = re.findall(r"\d+(?:\.\d+)?", written)
    return parts[:1] if len(parts) > 1 and not re.fullmatch(r"[\w-]+", written) else ()


def _covers(message: str, line: int) -> bool:
    """A note that names the lines which are about others."""
    told = re.search(r"speaks of others \(lines ([\d, -]+)\)", message)
    ranges = (each.split("-") for each in told[1].split(", ")) if told else ()
    return any(int(each[0]) <= line <= int(each[-1]) for each in ranges)


def unaccounted(path: Path, agent: Agent, notes: Sequence[str], start: int = 1, end: int = 10**9) -> list[Found]:
    mine = [note[len(f"{path}:") :].partition(": ") for note in notes if note.startswith(f"{path}:")]
    placed = [(int(line), message) for line, _, message in mine]
    every = numbers_in(path.read_text("utf-8"), start, end)
    return [found for found in every if not accounted(found, agent, placed)]


EXPECTED: dict[str, dict[str, Any]] = {
    "01-sentences": {
        "every": "20m", "suspect_after": "40m", "recover_after": "70m", "dependency_wait": "3h",
        "runtime_limit": "100m", "max_rounds": 25, "notify": ("creator",),
    },
    "02-chinese-numerals": {
        "every": "12m", "suspect_after": "30m", "recover_after": "45m", "dependency_wait": "90m",
        "runtime_limit": "150m", "max_rounds": 120,
    },
    "03-key-value-table": {
        "every": "20m", "suspect_after": "40m", "recover_after": "60m", "dependency_wait": "3h",
        "runtime_limit": "100m", "max_rounds": 25, "notify": ("creator",),
    },
    "04-row-of-values": {
        "every": "8m", "suspect_after": "16m", "recover_after": "24m", "dependency_wait": "50m", "max_rounds": 40,
    },
    "05-units-in-headings": {"every": "25m", "suspect_after": "50m", "recover_after": "2h", "max_rounds": 90},
    "06-table-of-the-team": {"every": "18m", "suspect_after": "36m", "max_rounds": 33},
    "07-classes-by-column": {"every": "17m", "suspect_after": "34m", "max_rounds": 77},
    "08-struck-and-commented": {"every": "15m", "suspect_after": "35m", "max_rounds": 28},
    "09-quoted-from-elsewhere": {"every": "15m", "max_rounds": 31},
    "10-changes": {},
    "11-waits-of-other-kinds": {"dependency_wait": "100m"},
    "12-digits-in-names": {"every": "15m", "suspect_after": "31m", "recover_after": "1h", "max_rounds": 1000},
    "13-full-width": {
        "every": "12m", "suspect_after": "25m", "recover_after": "35m", "dependency_wait": "90m", "max_rounds": 60,
    },
    "14-two-of-everything": {"every": "15m"},
    "15-uuid-far-down": {"every": "15m"},
    "16-english": {"every": "20m", "max_rounds": 45},
    "17-scripts": {"suspect_after": "40m"},
    "18-checks": {"max_rounds": 45, "runtime_limit": "75m"},
    "19-loose-sentences": {
        "every": "20m", "suspect_after": "40m", "recover_after": "60m", "dependency_wait": "3h", "max_rounds": 80,
    },
    "20-no-units": {"max_rounds": 25},
    "21-audiences": {"every": "21m", "max_rounds": 35, "notify": ("creator",)},
    "22-compound-times": {
        "every": "90m", "suspect_after": "2h5m", "recover_after": "150m", "dependency_wait": "1d",
        "runtime_limit": "15m", "max_rounds": 10_000,
    },
    "23-thresholds-under-a-heading": {"runtime_limit": "80m"},
    "24-windows-and-loops": {"every": "20m", "dependency_wait": "2h", "max_rounds": 21},
}  # fmt: skip
"""What each variant says, read off by hand; a setting that is missing here must not be read from it."""


def test_every_variant_is_compared_with_what_it_says() -> None:
    assert {path.stem for path in VARIANTS.glob("*.md")} == set(EXPECTED)
    assert len(EXPECTED) >= 20


@pytest.mark.parametrize("name", EXPECTED)
def test_a_variant_gives_the_settings_that_it_says_and_no_other(name: str) -> None:
    path = VARIANTS / f"{name}.md"
    (file,), refused = parse(str(path), path.read_bytes().decode())
    assert refused == ()
    wanted = {
        setting: parse_duration(value) if isinstance(value, str) else value for setting, value in EXPECTED[name].items()
    }
    assert dict(file.said) == wanted


@pytest.mark.parametrize("name", EXPECTED)
def test_every_number_of_a_variant_is_in_the_roster_or_in_a_note_with_its_line(name: str) -> None:
    path = VARIANTS / f"{name}.md"
    _, _, roster, notes = taken_over(path)
    (agent,) = roster.agents.values()
    assert unaccounted(path, agent, notes) == []


def test_without_the_notes_numbers_would_be_missing() -> None:
    """The scanner sees what a note stands for: all but the files that say nothing besides settings."""
    silent = set()
    for path in VARIANTS.glob("*.md"):
        _, _, roster, _ = taken_over(path)
        (agent,) = roster.agents.values()
        if not unaccounted(path, agent, ()):
            silent.add(path.stem)
    assert silent <= {"01-sentences", "04-row-of-values", "13-full-width", "22-compound-times", "24-windows-and-loops"}


def test_every_number_of_the_invented_crew_is_in_the_roster_or_in_a_note(tmp_path: Path) -> None:
    for sheet in CREW:
        path = tmp_path / sheet.id / "HEARTBEAT.md"
        path.parent.mkdir()
        path.write_text(write(sheet), "utf-8")
        _, _, roster, notes = taken_over(path)
        assert unaccounted(path, roster.agents[sheet.id], notes) == []


def test_every_number_of_the_deployed_files_is_in_the_roster_or_in_a_note() -> None:
    if not DEPLOYED.is_dir():
        pytest.skip("the files that the sample roster was made from are not at hand")
    gathered, _, roster, notes = taken_over(DEPLOYED)
    assert len(gathered.files) == 14
    for file in gathered.files:
        lines = Path(file.path).read_text("utf-8").splitlines()
        end = next(
            number
            for number in range(file.line + 1, len(lines) + 2)
            if number > len(lines) or lines[number - 1].startswith(("@@ ", "diff --git", "--- a/", "+++ b/"))
        )
        assert 100 < end - file.line < 300
        assert unaccounted(Path(file.path), roster.agents[file.id], notes, file.line, end) == []
        assert len(numbers_in("\n".join(lines), file.line, end)) > 10


# Sentences made by chance


def chinese(number: int) -> str:
    """1 to 9999 as people write it."""
    digits = "零一二三四五六七八九"
    out, zero = "", False
    for place, word in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // place % 10
        if digit:
            out += ("零" if zero else "") + digits[digit] + word
        zero = bool(out) and not digit
    return out.removeprefix("一") if out.startswith("一十") else out


def full_width(text: str) -> str:
    return "".join(chr(ord(each) + 0xFEE0) if each.isascii() and each.isdigit() else each for each in text)


SPELLED: tuple[Callable[[int], str | None], ...] = (
    lambda minutes: f"{minutes} 分钟",
    lambda minutes: f"{minutes}min",
    lambda minutes: full_width(f"{minutes}") + "分钟",
    lambda minutes: f"{chinese(minutes)}分钟",
    lambda minutes: f"{minutes * 60} 秒",
    lambda minutes: f"{minutes * 60:,} 秒",
    lambda minutes: f"{minutes // 60} 小时" if minutes % 60 == 0 else None,
    lambda minutes: f"{chinese(minutes // 60)}个小时" if minutes % 60 == 0 else None,
    lambda minutes: f"{minutes // 60} 小时半" if minutes % 60 == 30 and minutes > 60 else None,
    lambda minutes: f"{chinese(minutes // 60)}个半小时" if minutes % 60 == 30 and minutes > 60 else None,
    lambda minutes: "半小时" if minutes == 30 else None,
    lambda minutes: f"{chinese(minutes // 15)}刻钟" if minutes in (15, 45) else None,
    lambda minutes: f"{minutes // 60}h{minutes % 60}m" if minutes > 60 and minutes % 60 else None,
    lambda minutes: f"{minutes // 60} 小时 {minutes % 60} 分钟" if minutes > 60 and minutes % 60 else None,
)
TOLD: dict[str, tuple[str, ...]] = {
    "every": (
        "## 心跳频率：{}",
        "- 心跳间隔: 每隔 {}",
        "每 {}触发一次心跳",
        "| 心跳频率 | {} |",
        "心跳间隔：每{}",
        "心跳间隔：每{}一次",
        "每{}触发一次心跳",
        "| 心跳频率 | 每{} |",
    ),
    "suspect_after": (
        "- 超过 {}无进展 → 标记为“疑似超时”",
        "{}没有更新就算疑似超时",
        "| 疑似超时 | {} |",
        "疑似停滞：{}",
        "- 疑似停滞：超过{}",
    ),
    "recover_after": ("- 超 {}无进展 → 自动重新调度", "- 超过 {}没有进展即释放", "| 自动恢复 | {} |"),
    "dependency_wait": ("4. 超过等待阈值（{}）→ 通知依赖任务执行者", "- 依赖等待：{}", "| 依赖等待 | {} |"),
    "runtime_limit": ("- 单任务超时：{}", "超时检测：进行中任务是否超时（阈值 {}）", "| 单任务超时 | {} |"),
}
EACH = {
    1: ("分钟", "一分钟"),
    15: ("刻钟", "一刻钟"),
    60: ("小时", "个小时", "一小时", "一个小时"),
    90: ("一个半小时",),
}
"""What follows 每 where it is one of a unit: minutes, and the words."""
ROUNDS = ("### 限制值：{} 轮", "- 最大轮次：{}", "- 最多 {} 轮", "| 最大轮次 | {} 轮 |")
NOISE = (
    "<!-- 心跳频率：{} 分钟 -->", "- ~~限制值：{} 轮~~", "- 每 {} 分钟汇报一次心跳结果", "- 最多 {} 轮重试",
    "- 恢复失败时等待 {} 分钟后重试", "- 备份保留 {} 天", "- 值班分机 {}", "- 开发 Agent：每 {} 分钟",
    "- 心跳频率 {} 分钟 → 15 分钟", "- 磁盘用到 {}% 就清理", "- 第 {} 轮时暂停", "- 失败后等 {} 秒", "| 泊位 | {} 个 |",
)  # fmt: skip
"""Sentences with a number that is none of the settings of this agent, as a business agent, for sure."""


@st.composite
def sheets(draw: st.DrawFn) -> tuple[str, dict[str, timedelta | int]]:
    """A file, and what it says."""
    said: dict[str, timedelta | int] = {}
    lines: list[str] = []
    for setting, sentences in TOLD.items():
        if draw(st.booleans()):
            minutes = draw(st.sampled_from(tuple(EACH)) | st.integers(1, 720))
            spelled = [text for spell in SPELLED if (text := spell(minutes)) is not None]
            sentence = draw(st.sampled_from(sentences))
            if "每{}" in sentence:
                spelled += EACH.get(minutes, ())
            lines.append(sentence.format(draw(st.sampled_from(spelled))))
            said[setting] = timedelta(minutes=minutes)
    if draw(st.booleans()):
        rounds = draw(st.integers(1, 5000))
        sentence = draw(st.sampled_from(ROUNDS))
        written = [f"{rounds}", f"{rounds:,}", full_width(f"{rounds}")]
        lines.append(sentence.format(draw(st.sampled_from(written))))
        said["max_rounds"] = rounds
    for sentence in draw(st.lists(st.sampled_from(NOISE), max_size=5, unique=True)):
        lines.append(sentence.format(draw(st.integers(6000, 9999))))
    order = draw(st.permutations(lines))
    gap = draw(st.sampled_from(["\n", "\n\n"]))
    return gap.join(("# HEARTBEAT.md - 甲（agent7）", "> 分类：业务 Agent", *order)) + "\n", said


@settings(max_examples=300, deadline=None)
@given(sheet=sheets())
def test_whatever_is_said_in_whatever_words_is_read_and_everything_else_is_noted(
    sheet: tuple[str, dict[str, timedelta | int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text, said = sheet
    (file,), _ = parse("f.md", text)
    assert dict(file.said) == said
    told = {note.line: "" for note in file.notes}
    for note in file.notes:
        told[note.line] += f" {note.message}"
    for number, line in enumerate(text.splitlines(), 1):
        strange = re.search(r"\d{4}(?!\d)", line)
        if strange and any(line == sentence.format(strange.group()) for sentence in NOISE):
            others = any(_covers(note.message, number) for note in file.notes)
            assert others or strange.group() in told.get(number, ""), line


@settings(max_examples=300, deadline=None)
@given(
    st.text(
        "心跳频率超过无进展疑似限制值轮分钟小时半一二十百万个~-→/:：，,.|()（）<!->#`*0123456789 \nhm%", max_size=200
    )
)
def test_no_text_whatever_makes_a_roster_that_cannot_be_read(
    tmp_path_factory: pytest.TempPathFactory, body: str
) -> None:
    place = tmp_path_factory.mktemp("any") / "f.md"
    place.write_text(f"# HEARTBEAT.md - 甲（agent7）\n> 分类：业务 Agent\n{body}\n", "utf-8")
    _, _, roster, _ = taken_over(place)
    assert list(roster.agents) == ["agent7"]


WORDS = (
    "心跳频率", "每", "超过", "无进展", "疑似超时", "重新调度", "等待阈值", "限制值", "最大轮次", "单任务超时", "依赖",
    "上限", "恢复", "重试", "接近", "通知创建者", "高频 Agent", "业务 Agent", "以内", "第", "步骤", "约", "不超过",
    "积压", "失败", "心跳间隔：", "每一小时", "每个小时", "每一刻钟", "每刻钟", "每一分钟", "每一个半小时", "疑似停滞",
    "|", "：", "→", "，", "、", "（", "）", "-", "~~", "。", " ", "##", ">",
)  # fmt: skip
UNITS = (
    " 分钟",
    "分",
    "小时",
    "h",
    "m",
    " 秒",
    "天",
    " 轮",
    "%",
    " 次",
    "个",
    "",
    "",
    "个小时",
    "小时半",
    "万轮",
    " ms",
)


@st.composite
def phrases(draw: st.DrawFn) -> str:
    """Words, numbers and units in any order, on lines, in tables, in comments."""
    lines = []
    for _ in range(draw(st.integers(1, 4))):
        parts: list[str] = []
        for _ in range(draw(st.integers(1, 7))):
            number = draw(st.integers(1, 9999))
            spelled = (f"{number}", f"{number:,}", full_width(f"{number}"), chinese(number), f"{number}.5")
            parts.append(draw(st.sampled_from(WORDS)))
            if draw(st.booleans()):
                parts.append(f"{draw(st.sampled_from(spelled))}{draw(st.sampled_from(UNITS))}")
        frame = draw(
            st.sampled_from(
                ["{}", "- {}", "## {}", "> {}", "1. {}", "<!-- {} -->", "| {} |", "| a | b |\n|---|---|\n| {} |"]
            )
        )
        lines.append(frame.format("".join(parts)))
    return "\n".join(lines)


@settings(max_examples=400, deadline=None)
@given(body=phrases())
def test_every_number_of_words_thrown_together_is_in_the_roster_or_in_a_note(
    body: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "f.md"
    path.write_text(f"# HEARTBEAT.md - 甲（agent7）\n> 分类：业务 Agent\n{body}\n", "utf-8")
    _, _, roster, notes = taken_over(path)
    assert unaccounted(path, roster.agents["agent7"], notes) == []
