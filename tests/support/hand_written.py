"""Fourteen hand-written HEARTBEAT.md files of an invented crew: a table of what each says, and the words around it.

The table is what tests compare with. It is read by nobody but them and the writer below, which puts each number where
such files have it: in sentences, in tables by class, in warnings, in scripts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sheet:
    """One file. Times are minutes; `whom` is what the file says, `heard` what a roster has to say for it."""

    id: str
    name: str
    uuid: str
    label: str
    class_id: str
    every: int
    suspect: int
    recover: int
    wait: int
    rounds: int
    whom: str
    heard: tuple[str, ...]
    checks: tuple[str, ...]
    runtime: int | None = None
    patrol: bool = False


def _uuid(number: int) -> str:
    return f"0a5e{number:04x}-1c2d-4e3f-8a9b-{number:012x}"


_WATCH = ("高频 Agent", "high_frequency", 10, 20, 30, 60, 50)
_BUILD = ("开发 Agent", "developer", 15, 30, 45, 120, 100)
_TRADE = ("业务 Agent", "business", 15, 30, 45, 120, 30)
_BOTH = ("COO + 创建者", ("coo", "creator"))
_MAKER = ("创建者", ("creator",))

CREW = (
    Sheet(
        "coo",
        "秦望潮",
        _uuid(1),
        *_WATCH,
        "COO(自我监控)",
        ("self",),
        ("**全队积压巡查**：三个来源的总数", "泊位是否够用"),
        60,
        True,
    ),
    Sheet(
        "pilot", "云听雨", _uuid(2), "高频 Agent", "high_frequency", 5, 20, 30, 60, 50, "COO", ("coo",), ("航道公告",)
    ),
    Sheet("dock-engineer", "石砚", _uuid(3), *_BUILD, *_BOTH, ("吊机状态", "CI/CD 流水线"), 120),
    Sheet("chart7", "安澜", _uuid(4), *_BUILD, *_BOTH, ("海图版本 v2 是否最新",)),
    Sheet(
        "sail-maker", "费织", _uuid(5), "开发 Agent", "developer", 15, 45, 90, 120, 150, *_BOTH, ("帆布库存低于 3 卷",)
    ),
    Sheet("keel", "Ada O'Neil: #1", _uuid(6), *_BUILD, *_BOTH, ("龙骨检查 {{ 不是模板 }}",), 240),
    Sheet("rigger", "何缆", _uuid(7), *_BUILD, "创建者", ("creator",), ("索具", "滑轮")),
    Sheet("surveyor", "丈量", _uuid(8), *_BUILD, *_BOTH, ("潮位记录: 每 6 小时一次",)),
    Sheet("broker", "易安", _uuid(9), *_TRADE, *_MAKER, ("报价", "合同到期"), 90),
    Sheet("purser", "钱塘", _uuid(10), "业务 Agent", "business", 30, 60, 90, 240, 20, *_MAKER, ("账目",)),
    Sheet("cook", "司膳", _uuid(11), *_TRADE, "COO", ("coo",), ("粮食够不够 7 天",)),
    Sheet("herald", "报晓", _uuid(12), *_TRADE, *_MAKER, ("公告栏", "- 标题以横线开头")),
    Sheet("notary", "证言", _uuid(13), *_TRADE, *_MAKER, ("印章 \"A\" 与 'B'",), 30),
    Sheet("agent-2", "次席", _uuid(14), *_TRADE, *_MAKER, ("yes", "1:30", "null")),
)
"""Both classes' usual numbers and others, names and checks that YAML would take for something else."""


def write(sheet: Sheet) -> str:
    """The file's text."""
    ticks = "\n".join(f"{number}. ✅ {check}" for number, check in enumerate(sheet.checks, 5))
    runtime = (
        ""
        if sheet.runtime is None
        else f"\n## 运行时限\n\n超时检测：看进行中的卡片是否超时（阈值 {sheet.runtime} 分钟）\n"
    )
    return f"""# HEARTBEAT.md - {sheet.name}（{sheet.id}）的心跳配置

> 模板版本：v1.4 (PORT-7) | 分类：{sheet.label}
> OpenClaw Agent ID: `{sheet.id}` | Multica Agent UUID: `{sheet.uuid}`

---

## 先看三个来源

```bash
openclaw workboard list --json 2>/dev/null | python3 -c "
cards = [c for c in load(stdin)['cards'] if c.get('agentId') == '{sheet.id}']
print(cards[:8])
"
multica issue list --assignee-id {sheet.uuid} --status todo --output json
```

## 何时算慢

### 心跳频率：{sheet.every} 分钟

1. 看进行中的任务
2. 超过 {sheet.suspect} 分钟无进展 → 记为“疑似超时”

```python
for task in running:
    if age > {sheet.suspect * 60}:
        print(task['title'][:40])
```

## 怎样收回

- 超 {_time(sheet.recover)}没有进展 → 自动重新调度

| 来源 | 做法 |
| --- | --- |
| WorkBoard | 写评论 → release claim → 通知 {sheet.whom} |
| Multica | 写评论 → status=blocked → 通知 {sheet.whom} |

## 先后关系

1. 依赖没完成就不认领
2. 超过等待阈值（{_time(sheet.wait).strip()}）→ 通知依赖任务执行者

## 轮次

### 限制值：{sheet.rounds} 轮

- 接近 80%（{sheet.rounds * 8 // 10} 轮）→ 预警
- 达到上限 → 暂停，通知 {sheet.whom}
{runtime}
## 心跳执行清单

1. ✅ **全任务源检查**：三处都看
2. ✅ 进行中任务超时检测
3. ✅ 依赖检查
4. ✅ 轮次计数器更新
{ticks}

---

> 由 PORT-7 v1.4 生成 | {sheet.name}（{sheet.id}）专用
"""


def lay_out(folder: Path, sheets: tuple[Sheet, ...] = CREW) -> Path:
    """The files as agents have them: a directory each."""
    for sheet in sheets:
        place = folder / sheet.id / "HEARTBEAT.md"
        place.parent.mkdir(parents=True)
        place.write_text(write(sheet), "utf-8")
    return folder


def in_one(sheets: tuple[Sheet, ...] = CREW, fence: str = "````") -> str:
    """All of them in one document, each in a block of code, with words between that are none of theirs."""
    parts = (f"## {sheet.name}\n\n{fence}markdown\n{write(sheet)}{fence}\n\n每 3 分钟看一次。\n" for sheet in sheets)
    return "# 全员心跳\n\n" + "\n".join(parts)


def _time(minutes: int) -> str:
    """A time as people write it: hours where they come out even."""
    return f"{minutes // 60}h " if minutes % 60 == 0 else f"{minutes} 分钟"
