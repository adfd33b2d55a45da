"""What the watchdog tells people, in the team's language: one table of sentences. Pure.

Facts go in as data; what comes from outside stands in one line, cut, without secrets and control characters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from heartbeat.action import Level
from heartbeat.instants import exact_duration, format_duration
from heartbeat.notify.letter import one_line
from heartbeat.watch.causes import Cause, Likely
from heartbeat.watch.flips import Flip, Kind, agent_of
from heartbeat.watch.health import Health, said
from heartbeat.watch.masking import masked

LISTED = 20
"""Agents told one by one in a message; the names of the others follow."""
_QUOTED = 300
_NAME = 40

TEXTS: Mapping[str, str] = {
    "silence": "自 {slot} 起没有任何 Agent 心跳，已 {missing}。已缺 {count} 个：{names}。最后一次心跳：{last}。",
    "down": "{who}：{slot} 的心跳没有来，已 {missing}。上次心跳：{last}；节奏：{rhythm}。",
    "never": "{who}：从未有过心跳，最迟 {by} 应有第一次；节奏：{rhythm}。",
    "unfinished": "{who}：还没有一次心跳走完，最迟 {by} 应有第一次；节奏：{rhythm}。",
    "failing": "{who}：最近 {count} 次心跳失败。{said}",
    "unreadable": "状态用不了，心跳是否还在无从得知。{trouble}",
    "missing": "状态数据库不见了：{state}。此前那里有过心跳。",
    "replaced": "状态目录 {state} 里换了一份新的记忆，旧的（心跳记录、事件、轮次）不在了。"
    "如非有意，请停下心跳，放回备份；如是有意，不必处理，此事只说一次。",
    "lost": "记忆丢失：{trouble}。负责人确认之前，heartbeat 只观察，不处理。",
    "roster": "名册有错，心跳会因此停下；看门狗暂按上一份正确的名册继续看。{trouble}",
    "disk": "状态目录所在的磁盘有问题：{trouble}",
    "back_silence": "又有心跳了：{names}。自 {since} 起中断；其余的到下次该心跳时再看。",
    "back": "{who}：心跳已恢复，最近一次 {last}，自 {since} 起中断。",
    "back_failing": "{who}：心跳又成功了，最近一次 {last}。",
    "back_unreadable": "状态又能用了。",
    "back_missing": "状态数据库又在了。",
    "back_lost": "记忆丢失一事已处理。",
    "back_replaced": "记忆换新一事已说过。",
    "back_roster": "名册已改好。",
    "back_disk": "状态目录所在的磁盘已恢复正常。",
    "and_more": "{names} 等 {count} 个",
    "more": "另有 {count} 个：{names}。",
    "cause": "可能的原因：{cause}。处理：{mend}。",
    "foot": "查看：heartbeat health（名册 {roster}；状态目录 {state}；时间为 {zone}）",
    "title_silence": "heartbeat 看门狗：没有任何 Agent 心跳",
    "title_down": "heartbeat 看门狗：{who}没有心跳",
    "title_downs": "heartbeat 看门狗：{count} 个 Agent 没有心跳",
    "title_wrong": "heartbeat 看门狗：{count} 处异常",
    "title_back": "heartbeat 看门狗：{who}已恢复",
    "title_silence_back": "heartbeat 看门狗：心跳已恢复",
    "title_backs": "heartbeat 看门狗：{count} 处已恢复",
    "title_both": "heartbeat 看门狗：{count} 处异常，{back} 处已恢复",
    "title_still": "heartbeat 看门狗：仍有 {count} 处异常（每日提醒）",
    "title_several": "heartbeat 看门狗：共 {count} 条消息",
    "dated": "【{at}】{title}",
    "unlisted": "另有 {count} 条更早的消息未列出。",
    "every": "每 {interval} 一次",
    "cron": "cron {cron}",
    "agent": "{agent}（{name}）",
    "nobody": "（无）",
    "subject_beats": "心跳",
    "subject_store": "状态数据库",
    "subject_memory": "记忆",
    "subject_roster": "名册",
    "subject_disk": "磁盘",
}

CAUSES: Mapping[Cause, tuple[str, str]] = {
    Cause.STOPPED: ("进程 {pid} 被暂停，占着锁不动", "让它继续（kill -CONT {pid}），或结束它（kill -9 {pid}）"),
    Cause.HANGS: ("一次心跳卡住了，进程 {pid} 已超时", "下一次心跳会结束它；不行就 kill -9 {pid}"),
    Cause.DAEMON_GONE: (
        "守护进程 {pid} 已不在（被杀或崩溃）",
        "重新启动：heartbeat run，或 systemctl restart 对应的服务",
    ),
    Cause.DAEMON_SILENT: ("守护进程 {pid} 还在，却不再心跳", "先看它的日志，再重启它"),
    Cause.ELSEWHERE: ("心跳原来在 {host} 上运行，已不再来", "去看那台机器"),
    Cause.NOT_BEGUN: (
        "状态目录 {state} 里从未有过心跳",
        "安装定时任务：heartbeat cron install；或检查状态目录是否写对",
    ),
    Cause.ALONE: (
        "别的 Agent 有心跳，只有它没有",
        "看它是否在定时任务里：heartbeat cron show；再试：heartbeat tick {agent}",
    ),
    Cause.NO_DISK: (
        "{state} 所在的磁盘写不进去（只读或已满），心跳无法留下记录",
        "腾出空间，或重新挂载为可写；原因可看 dmesg",
    ),
    Cause.DAEMON_ENDED: (
        "守护进程在 {since} 正常结束，之后没有再启动",
        "重新启动：heartbeat run，或 systemctl start 对应的服务",
    ),
    Cause.INTERRUPTED: (
        "心跳没走完就被外部结束：自 {since} 起 {count} 次，最近一次由 {by} 结束，多半因定时任务的时限太短，或机器",
        "放宽启动处的时限（systemd 的 TimeoutStartSec、任务的 timeout）；或看为何这么慢：heartbeat tick {agent}",
    ),
    Cause.NOBODY: (
        "{since} 之后再没有进程心跳，多半是定时任务不在了",
        "看定时任务是否还在：heartbeat cron show；看 cron、systemd 或网关是否在运行",
    ),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a flip is about, with what there is to say. `name` is how people call it; `trouble` is foreign text;
    `missing` and `back` are names of agents, where it is about all."""

    name: str
    health: Health | None = None
    rhythm: str = ""
    cause: Likely | None = None
    trouble: str = ""
    state: str = ""
    missing: tuple[str, ...] = ()
    back: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """A message: its text and how urgent it is."""

    level: Level
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a message comes from."""

    roster: str
    state: str
    zone: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def show(self, instant: datetime) -> str:
        return _shown(instant, self.zone)

    def foreign(self, text: str) -> str:
        return one_line(masked(text, self.secrets), _QUOTED)


def message(flips: Sequence[Flip], subjects: Mapping[str, Subject], setting: Setting) -> Told:
    """All that one look has to tell, as one message: what is wrong first, then what is well again."""
    wrong = [flip for flip in flips if flip.new is not None]
    back = [flip for flip in flips if flip.new is None]
    lines = [*_listed(wrong, subjects, setting, _wrong), *_listed(back, subjects, setting, _back)]
    lines += _causes(wrong, subjects, setting)
    lines.append(TEXTS["foot"].format(roster=setting.roster, state=setting.state, zone=setting.zone))
    level = Level.CRITICAL if wrong else Level.INFO
    return Told(level, _title(wrong, back, subjects), "\n".join(lines))


def several(count: int) -> str:
    """The title over messages that waited and are told together."""
    return TEXTS["title_several"].format(count=count)


def dated(at: datetime, title: str, zone: str) -> str:
    """The title of one of them, with when it was written."""
    return TEXTS["dated"].format(at=_shown(at, zone), title=title)


def unlisted(count: int) -> str:
    """The last line of a message that has no room for all of them."""
    return TEXTS["unlisted"].format(count=count)


def subject_name(key: str) -> str:
    """How people call what is no agent."""
    return TEXTS[f"subject_{key}"]


def agent_name(agent: str, name: str) -> str:
    """An agent by its id and, where it has one, its name."""
    return agent if name in ("", agent) else TEXTS["agent"].format(agent=agent, name=one_line(name, _NAME))


def rhythm_words(cron: str | None, every: timedelta) -> str:
    """How often an agent is to beat."""
    return TEXTS["every"].format(interval=exact_duration(every)) if cron is None else TEXTS["cron"].format(cron=cron)


def _shown(instant: datetime, zone: str) -> str:
    return instant.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M")


def _title(wrong: Sequence[Flip], back: Sequence[Flip], subjects: Mapping[str, Subject]) -> str:
    if wrong and back:
        return TEXTS["title_both"].format(count=len(wrong), back=len(back))
    if len(back) == 1 and back[0].old is Kind.SILENCE:
        return TEXTS["title_silence_back"]
    if back:
        one = TEXTS["title_back"].format(who=_spaced(subjects[back[0].key].name))
        return one if len(back) == 1 else TEXTS["title_backs"].format(count=len(back))
    if len(wrong) == 1 and wrong[0].new is Kind.SILENCE and not wrong[0].reminder:
        return TEXTS["title_silence"]
    if all(flip.reminder for flip in wrong):
        return TEXTS["title_still"].format(count=len(wrong))
    if all(flip.new in (Kind.DOWN, Kind.NEVER) for flip in wrong):
        one = TEXTS["title_down"].format(who=_spaced(subjects[wrong[0].key].name))
        return one if len(wrong) == 1 else TEXTS["title_downs"].format(count=len(wrong))
    return TEXTS["title_wrong"].format(count=len(wrong))


def _spaced(name: str) -> str:
    """A name before Chinese: a blank after Latin letters, none after a full-width bracket or a word."""
    return f"{name} " if name[-1:].isascii() else name


def _listed(
    flips: Sequence[Flip],
    subjects: Mapping[str, Subject],
    setting: Setting,
    line: Callable[[Flip, Subject, Setting], str],
) -> list[str]:
    lines = [line(flip, subjects[flip.key], setting) for flip in flips[:LISTED]]
    if len(flips) > LISTED:
        names = "、".join(subjects[flip.key].name for flip in flips[LISTED:])
        lines.append(TEXTS["more"].format(count=len(flips) - LISTED, names=names))
    return lines


def _wrong(flip: Flip, subject: Subject, setting: Setting) -> str:
    found, kind = subject.health, flip.new or Kind.DOWN
    facts = {
        "who": subject.name,
        "rhythm": subject.rhythm,
        "state": subject.state,
        "trouble": setting.foreign(subject.trouble),
        "names": _names(subject.missing),
        "count": str(len(subject.missing)),
    }
    if kind is Kind.SILENCE and found is not None:
        facts |= {
            "slot": setting.show(flip.since),
            "missing": format_duration(found.at - flip.since),
            "last": TEXTS["nobody"] if found.last is None else setting.show(found.last.started_at),
        }
        return TEXTS[kind.value].format(**facts)
    if found is not None:
        facts |= {
            "slot": setting.show(found.unanswered or flip.since),
            "missing": format_duration(found.at - (found.unanswered or flip.since)),
            "last": TEXTS["nobody"] if found.last is None else setting.show(found.last.started_at),
            "by": setting.show(found.expected_by or flip.since),
            "count": str(found.failures),
            "said": setting.foreign(said(found.last)),
        }
    unfinished = kind is Kind.NEVER and found is not None and found.interrupted is not None
    return TEXTS["unfinished" if unfinished else kind.value].format(**facts)


def _back(flip: Flip, subject: Subject, setting: Setting) -> str:
    found = subject.health
    if flip.old is Kind.SILENCE:
        return TEXTS["back_silence"].format(names=_names(subject.back), since=setting.show(flip.since))
    if found is None:
        return TEXTS[f"back_{(flip.old or Kind.UNREADABLE).value}"]
    last = TEXTS["nobody"] if found.last is None else setting.show(found.last.started_at)
    text = TEXTS["back_failing" if flip.old is Kind.FAILING else "back"]
    return text.format(who=subject.name, last=last, since=setting.show(flip.since))


def _names(names: Sequence[str]) -> str:
    listed = "、".join(names[:LISTED]) or TEXTS["nobody"]
    return listed if len(names) <= LISTED else TEXTS["and_more"].format(names=listed, count=len(names))


def _causes(flips: Sequence[Flip], subjects: Mapping[str, Subject], setting: Setting) -> list[str]:
    """Each cause once, however many agents share it."""
    found: dict[tuple[Cause, int, str], str] = {}
    for flip in flips:
        cause = subjects[flip.key].cause
        if cause is not None and (cause.cause, cause.pid, cause.host) not in found:
            facts = {
                "pid": cause.pid,
                "host": setting.foreign(cause.host),
                "since": TEXTS["nobody"] if cause.since is None else setting.show(cause.since),
                "agent": agent_of(flip.key) or "",
                "state": cause.state,
                "count": str(cause.count),
                "by": setting.foreign(cause.by),
            }
            what, mend = (text.format(**facts) for text in CAUSES[cause.cause])
            found[cause.cause, cause.pid, cause.host] = TEXTS["cause"].format(cause=what, mend=mend)
    return list(found.values())
