"""What heartbeat says on tasks and to people: one table of sentences, in the team's language. Pure.

Facts go in as data. A title is foreign text: it stands in one line, cut short, with everything that would mention
somebody or make a link taken out of it (rule B8).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import timedelta

from heartbeat.instants import format_duration

_TITLE = 80

TEXTS: Mapping[str, str] = {
    # On the task itself (rules L2, L3, C2, C3).
    "recover": (
        "heartbeat：任务超时，已自动恢复（24 小时内第 {number} 次）。执行人 {owner} 已 {idle} 没有活动"
        "（确认阈值 {recover_after}）。任务已放回{status}，可以重新认领；先看已有评论与产出，再继续。"
    ),
    "recover_loop": (
        "heartbeat：任务空转，已自动恢复（24 小时内第 {number} 次）。执行人 {owner} 已运行 {runtime}"
        "（上限 {runtime_limit}），连续 {rounds} 轮没有进展。任务已放回{status}；请换一种做法，或拆分任务。"
    ),
    "hand_over": "heartbeat：24 小时内第 {number} 次恢复，任务转交 {backup} 继续。原执行人 {owner}。",
    "block": (
        "heartbeat：24 小时内第 {number} 次超时，任务已阻塞，不再自动恢复。执行人 {owner} 已 {idle} 没有活动。"
        "请负责人决定：改派、拆分或解除阻塞；有人改动任务后，检测重新开始。"
    ),
    "rounds_warn": (
        "heartbeat：已用 {used} 轮，上限 {limit} 轮（80% 预警）。请收敛：先交付可用的部分，余下的拆成新任务。"
    ),
    "rounds_pause": (
        "heartbeat：已用 {used} 轮，达到上限 {limit} 轮，任务已暂停。最近一次进展：{progress}，详见上方评论与产出。"
        "继续请由负责人追加轮次：heartbeat rounds extend {typed} 20"
    ),
    # In an agent's name, by its own commands (verbs.py).
    "verb_start": "{agent}：开始。{why}",
    "verb_done": "{agent}：已完成。{why}",
    "verb_review": "{agent}：提交评审。{why}",
    "verb_reject": "{agent}：退回重做。原因：{why}",
    "verb_block": "{agent}：受阻。原因：{why}",
    "verb_note": "{agent}：{why}",
    "rounds_extend": (
        "heartbeat：{by} 追加 {more} 轮（已用 {used} 轮，上限现为 {limit} 轮），任务已恢复，可以重新认领。{why}"
    ),
    # For the owner's next worklist (rule L1).
    "nudge_title": "疑似超时：{title}",
    "nudge": (
        "你进行中的任务「{title}」（{name}）已 {idle} 没有活动。请现在继续推进，或报告卡点："
        "heartbeat note {typed} --why '…'；若在等待长操作：heartbeat hold {typed} --for 40m --why '…'。"
        "再过 {left} 仍无活动，将{next}。"
    ),
    "nudge_loop": (
        "你进行中的任务「{title}」（{name}）已运行 {runtime}，连续 {rounds} 轮没有进展。请交付已有部分、换一种做法，"
        "或报告卡点：heartbeat note {typed} --why '…'。再过 {left} 仍无进展，将{next}。"
    ),
    "next_act": "自动恢复（收回认领，放回待办）",
    "next_notify": "通知相关人员",
    # To people and other agents (rules L2, L3, D3 to D5, C2, T6).
    "told_title": "任务超时（仅通知）：{title}",
    "told": (
        "任务「{title}」（{name}），执行人 {owner}，已 {idle} 没有活动。未自动恢复：{because}。"
        "查看：heartbeat explain {typed}"
    ),
    "recovered_title": "任务已自动恢复（第 {number} 次）：{title}",
    "recovered": (
        "任务「{title}」（{name}）确认超时：执行人 {owner} 已 {idle} 没有活动。已放回{status}。"
        "查看：heartbeat explain {typed}"
    ),
    "blocked_title": "任务已阻塞，需要您决定：{title}",
    "blocked": (
        "任务「{title}」（{name}）24 小时内第 {number} 次超时，执行人 {owner}。任务已阻塞，不再自动恢复。"
        "请决定：改派、拆分或解除阻塞。经过：heartbeat explain {typed}"
    ),
    "storm_title": "{count} 个任务同时超时：未做自动恢复",
    "storm": (
        "一次巡检中有 {count} 个任务同时到了恢复的时候（上限 {storm}）。这多半是共同的原因（网关、模型或网络），"
        "所以一个都没有自动恢复。请先检查环境：heartbeat doctor；再看：heartbeat timeouts。"
        "逐个处理：heartbeat resolve；要放行自动恢复，请调高 escalation.storm。任务：{names}"
    ),
    "rounds_warn_title": "轮次预警：{title}",
    "rounds_warn_told": "任务「{title}」（{name}），执行人 {owner}，已用 {used} 轮，上限 {limit} 轮。",
    "rounds_pause_title": "轮次用尽，任务已暂停：{title}",
    "rounds_pause_told": (
        "任务「{title}」（{name}），执行人 {owner}，已用 {used} 轮，达到上限 {limit} 轮{paused}。"
        "追加轮次：heartbeat rounds extend {typed} 20"
    ),
    "paused": "，任务已暂停",
    "handed_title": "任务已转交 {backup}：{title}",
    "handed": "任务「{title}」（{name}）已转交 {backup}，原执行人 {owner}。查看：heartbeat explain {typed}",
    "nobody": "（无）",
    "wait_title": "有任务在等你：{title}",
    "wait": (
        "「{title}」（{name}）未完成，{count} 个任务在等它，最久已等 {waited}：{waiting}。请优先推进，或说明何时完成："
        "heartbeat note {typed} --why '…'"
    ),
    "dead_wait_title": "依赖需要决定：{title}",
    "dead_wait": "任务「{title}」（{name}）无法开始：{because}。请决定：取消依赖、改依赖，或重新打开被依赖的任务。",
    "gate_cancelled": "它依赖的 {target} 已取消",
    "gate_archived": "它依赖的 {target} 已归档但未完成",
    "gate_dangling": "它依赖的 {target} 在任何来源中都不存在",
    "gate_ambiguous": "它依赖的 {target} 指向多个任务",
    "gate_open": "它依赖的 {target} 未完成",
    "cycle_title": "循环依赖：{count} 个任务互相等待",
    "cycle": "这些任务互相等待，谁也无法开始：{names}。请去掉其中一个依赖。其他任务不受影响。",
    # Of turns that heartbeat starts (rules X, F).
    "letter_title": "任务进入死信：{title}",
    "letter": (
        "任务「{title}」（{name}），执行人 {owner}：没有提供方能完成它（{because}）。任务已放回待办，"
        "将于 {due} 自动重试。查看：heartbeat dlq show {letter}"
    ),
    "poison_title": "任务被拒绝，进入死信：{title}",
    "poison": (
        "任务「{title}」（{name}），执行人 {owner}：请求本身被拒绝（{because}），换提供方也没有用，所以不自动重试。"
        "任务已放回待办。请检查任务内容；改好以后：heartbeat dlq retry {letter}"
    ),
    "letter_exhausted_title": "死信重试用尽，需要您决定：{title}",
    "letter_exhausted": (
        "任务「{title}」（{name}），执行人 {owner}：重试 {tries} 次仍未成功（{because}），不再自动重试。"
        "重试：heartbeat dlq retry {letter}；放弃：heartbeat dlq drop {letter} --why '…'"
    ),
    "queue_title": "今日已有 {count} 个任务进入死信",
    "queue": (
        "今日进入死信、尚未解决的任务已有 {count} 个（全部未结死信 {known} 个）。最近一个：「{title}」（{because}）。"
        "这多半是共同的原因（提供方、网关或网络），都会自动重试；不再逐个通知{later}。"
        "查看：heartbeat dlq list；heartbeat providers"
    ),
    "queue_exhausted_title": "今日已有 {count} 个死信重试用尽，需要您决定",
    "queue_exhausted": (
        "今日重试用尽的死信已有 {count} 个（全部未结死信 {known} 个）。最近一个：「{title}」（{because}）。"
        "它们不再自动重试；不再逐个通知{later}。查看：heartbeat dlq list；全部重试：heartbeat dlq retry --all"
    ),
    "queue_later": "，到 {step} 个时再报",
    "breaker_title": "提供方已熔断：{provider}",
    "breaker": (
        "提供方 {provider} 连续失败（{because}），{until} 之前不再向它派发；之后先试一次。查看：heartbeat providers"
    ),
    "breaker_refused": (
        "提供方 {provider} 拒绝请求（{because}）：请检查密钥与额度。{until} 之前不再向它派发；之后先试一次。"
        "改好以后可立即恢复：heartbeat providers reset {provider}"
    ),
    "budget_title": "{agent} 今日派发预算已用完",
    "budget": "{agent} 今日不再自动派发：{because}。明日 0 点（{timezone}）恢复；其他巡检照常。查看：heartbeat cost",
    "unclaimed_title": "任务无法领取：{title}",
    "unclaimed": (
        "任务「{title}」（{name}）连续几次无法为 {owner} 领取，因此没有派发：{because}。其他任务照常。"
        "查看：heartbeat outbox list；heartbeat doctor"
    ),
    "overdue_title": "派发超时且无法停止：{title}",
    "overdue": (
        "{owner} 在任务「{title}」上的一次派发无法停止（{because}）。它结束之前，{owner} 不会再被派发。"
        "手动停止：heartbeat abort {dispatch}"
    ),
    "hook_title": "完成钩子失败：{command}",
    "hook": (
        "任务「{title}」结束后运行的命令 {command} 试了 {attempts} 次仍失败：{because}。查看：heartbeat outbox list"
    ),
    "undone_title": "操作未能完成：{title}",
    "undone": (
        "对任务「{title}」（{name}）的操作 {operation} 试了 {attempts} 次仍未成功：{because}。"
        "查看：heartbeat outbox list"
    ),
}
"""Sentences by name. Every placeholder is a fact that the caller gives as text."""

STATUS_WORDS: Mapping[str, str] = {
    "todo": "待办",
    "blocked": "阻塞（等 COO 处理）",
    "backlog": "待规划",
    "in_progress": "进行中",
    "in_review": "评审中",
    "done": "完成",
}

_UNSAFE = re.compile(r"[\[\]()<>`@*_~|#\\]")


def say(name: str, /, **facts: object) -> str:
    """The sentence with its facts: durations in words, everything else as text."""
    words = {key: format_duration(fact) if isinstance(fact, timedelta) else str(fact) for key, fact in facts.items()}
    return TEXTS[name].format(**words)


def harmless(title: str, limit: int = _TITLE) -> str:
    """A title that can stand inside a sentence anywhere: one line, no mentions, no links, no markup, cut."""
    flat = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in title[: 8 * limit])
    bare = " ".join(_UNSAFE.sub(" ", flat).split())
    return bare if len(bare) <= limit else bare[: limit - 1] + "…"
