"""The few sentences that notify adds to messages, in the team's language. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat.action import Level

_LEVELS = {Level.CRITICAL: "严重", Level.WARNING: "警告", Level.INFO: "提示"}


def digest_title(levels: Sequence[Level]) -> str:
    """How many messages a digest stands for, the most urgent named first."""
    counts = "，".join(f"{_LEVELS[level]} {levels.count(level)}" for level in _LEVELS if level in levels)
    return f"heartbeat 通知汇总：共 {len(levels)} 条（{counts}）"


def digest_head() -> str:
    """The first line of a digest's body; it holds whether or not all lines found room."""
    return "短时间内通知过多，合为一条；最紧急的在前，列不下的也都记录在案。"


def digest_line(level: Level, title: str, key: str) -> str:
    """One message in a digest."""
    return f"[{_LEVELS[level]}] {title} · {key}"


def undelivered(title: str, channel: str) -> str:
    """The title of a message that another channel could not deliver."""
    return f"（未能经 {channel} 送达）{title}"


def repeated(title: str) -> str:
    """The title of a message that may have arrived before."""
    return f"（可能重复）{title}"


def trial_title() -> str:
    """The title of the message that `heartbeat notify test` sends."""
    return "heartbeat 测试消息"


def trial_body(channel: str, roster: str, at: str) -> str:
    """What the test message says. `at` is an instant as text."""
    return f"频道 {channel} 可以收到通知，无需处理。\n名册：{roster}\n时间：{at}"
