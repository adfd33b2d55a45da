"""agents.yaml as text, with comments that say where each thing comes from. Pure.

What comes from outside is data, in comments too: there it stands on one line without anything invisible.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from heartbeat.roster.check import COO
from heartbeat.roster.classes import BUILT_IN
from heartbeat.setup.drafts import Draft, LeftOut, Team
from heartbeat.setup.foreign import clean
from heartbeat.setup.phrases import EVERY, NOTIFY, RECOVER, ROUNDS, RUNTIME, SUSPECT, WAIT
from heartbeat.setup.scalars import flow, path_scalar, scalar, written

_WIDTH = 110
"""Columns from which on a list stands on lines of its own."""

_ORDER = (EVERY, SUSPECT, RECOVER, RUNTIME, WAIT, ROUNDS, NOTIFY)

_CHANNELS = ("ops", "notifications", "ops-log", "heartbeat-log")
"""Names for the channel, the first that no agent has."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new roster is to say. Paths are absolute; `home` is what `~` stands for. `origins` say what it was made
    from. `guess` is a pattern for workspaces that nobody could be asked about."""

    team: Team
    timezone: str
    operator: str
    state: str
    home: str
    origins: tuple[str, ...] = ()
    guess: str = ""


def compose(plan: Plan) -> str:
    """The whole text of a roster, which reads back without a mistake."""
    drafts = plan.team.drafts
    pattern = workspace_pattern(drafts)
    lines = [
        *_head(plan),
        *_workspaces(plan, pattern),
        *_FAR,
        *_SOURCES,
        *_channels(plan),
        *_classes(plan.team),
        "",
        "# An agent names its class and may override any of its settings: docs/roster.md.",
        "agents:",
    ]
    for draft in drafts:
        lines += [*agent_lines(draft, plan.home, pattern), ""]
    lines += left_out_lines(plan.team.left_out, plan.home)
    return "\n".join(lines).rstrip("\n") + "\n"


def agent_lines(draft: Draft, home: str, pattern: str = "", indent: str = "  ") -> list[str]:
    """One agent under `agents:`. Its workspace is left to `pattern` where that gives it."""
    inner = indent * 2
    lines = [f"{indent}{scalar(draft.id)}:"]
    if draft.name:
        lines.append(f"{inner}name: {scalar(draft.name)}")
    lines.append(f"{inner}class: {draft.class_id}{_aside(draft.why)}")
    if draft.multica_id:
        lines.append(f"{inner}multica_id: {draft.multica_id}{_aside(draft.why_multica)}")
    lines += _workspace(draft, home, pattern, inner)
    for setting in _ORDER:
        if setting in draft.settings:
            override = draft.settings[setting]
            usual = BUILT_IN.get(draft.class_id, {}).get(setting)
            instead = f"; its class has {written(usual)}" if usual is not None and setting != NOTIFY else ""
            lines.append(f"{inner}{setting}: {written(override.value)}{_aside(f'{override.why}{instead}')}")
    if draft.patrol:
        lines.append(f"{inner}patrol: true  # sees the whole team's backlog, and acts for owners who are silent")
    lines += _checks(draft.checks, inner)
    lines += [f"{inner}# {clean(note, 300)}" for note in draft.notes]
    return lines


def left_out_lines(left_out: Sequence[LeftOut], home: str, indent: str = "  ") -> list[str]:
    """Comments: who does not come into the roster by itself, as the line that would take them in."""
    if not left_out:
        return []
    lines = [f"{indent}# Left out. Take the `# ` away to take somebody in."]
    for each in left_out:
        settings = ["class: business"]
        if each.name:
            settings.append(f"name: {scalar(each.name)}")
        if each.multica_id:
            settings.append(f"multica_id: {each.multica_id}")
        place = path_scalar(each.workspace, home) if each.workspace else None
        if place:
            settings.append(f"workspace: {place}")
        if each.id:
            lines.append(f"{indent}# {scalar(each.id)}: {{{', '.join(settings)}}}{_aside(each.why)}")
        elif each.multica_id:
            lines.append(f"{indent}# an-id-of-your-choice: {{{', '.join(settings)}}}{_aside(each.why)}")
        else:
            lines.append(f"{indent}# {clean(each.why, 300)}")
    return lines


def workspace_pattern(drafts: Sequence[Draft]) -> str:
    """A path with `{id}` that gives the workspaces of at least two agents; empty where there is none, or where it would
    give one to somebody whose workspace is not known."""
    if not drafts or not all(draft.workspace for draft in drafts):
        return ""
    patterns = [_pattern_of(draft) for draft in drafts]
    usual = max(sorted(filter(None, patterns)), key=patterns.count, default="")
    return usual if patterns.count(usual) >= 2 else ""


def follows(draft: Draft, pattern: str) -> bool:
    """Whether the pattern gives the agent's workspace."""
    return bool(pattern) and pattern.replace("{id}", draft.id) == draft.workspace


def channel_name(ids: Iterable[str]) -> str:
    """What the channel for the operator is called: no agent has that name."""
    taken = set(ids)
    return next((name for name in _CHANNELS if name not in taken), "heartbeat-notifications")


def notifications_file(state: str) -> str:
    """The file that messages to people go to at first: beside the state directory, so that what becomes of the one does
    not become of the other, and of the same name where several rosters have theirs side by side."""
    place = PurePosixPath(state)
    own = "" if place.name == "state" else f"-{place.name}"
    return str(place.parent / f"notifications{own}.log")


def _head(plan: Plan) -> Iterator[str]:
    yield "# Who is in the team, how often each agent beats, who hears of trouble. `heartbeat init` wrote it, and from"
    yield "# now on it is yours: `heartbeat roster check` finds every mistake, `heartbeat roster show` fills in every"
    yield "# default, `heartbeat roster sync` compares it with the agents that there are."
    for origin in plan.origins:
        yield f"# From {clean(origin, 300)}."
    yield "version: 1"
    yield ""
    yield "# In which `cron` expressions are read and times are shown."
    yield f"timezone: {scalar(plan.timezone)}"
    yield ""
    yield "# The person in charge, and the channels that reach them. Work that names them is a person's."
    name = scalar(clean(plan.operator, 80))
    yield f"operator: {{name: {name}, notify: [{channel_name(draft.id for draft in plan.team.drafts)}]}}"
    yield ""
    yield "# What heartbeat remembers. Named here, so that every scheduler and you share one."
    yield f"state: {path_scalar(plan.state, plan.home) or scalar(plan.state)}"


def _workspaces(plan: Plan, pattern: str) -> Iterator[str]:
    if pattern:
        yield ""
        yield "# Where each agent works; {id} is its id. An agent's own `workspace` overrides this."
        yield f"workspaces: {path_scalar(pattern, plan.home)}"
    elif plan.guess and not all(draft.workspace for draft in plan.team.drafts):
        yield ""
        yield "# Where each agent works; {id} is its id. Nobody could be asked: look (`openclaw agents list`), mend it"
        yield "# and take the `# ` away. Without a workspace an agent has neither TODO files nor a HEARTBEAT.md."
        yield f"# workspaces: {path_scalar(plan.guess, plan.home) or clean(plan.guess)}"


_FAR = (
    "",
    "# How far heartbeat goes by itself with work that stands still: observe, notify, or act. See docs/ladder.md, and",
    "# try `heartbeat simulate`, before you let it act.",
    "recovery: notify",
)

_SOURCES = (
    "",
    "# What is read. `auto` takes the best way that works.",
    "sources:",
    "  workboard: {transport: auto}",
    "  multica: {transport: auto}",
    "  todo: {files: [TODO.md, AGENTS.md]}",
)


def _channels(plan: Plan) -> Iterator[str]:
    name = channel_name(draft.id for draft in plan.team.drafts)
    log = notifications_file(plan.state)
    yield ""
    yield "# Where messages to people go. A file reaches nobody: no person hears of anything until a real channel is"
    yield f"# named, here and under `operator`; `heartbeat notify test {name}` tries one. Addresses and secrets are"
    yield "# named by variables: `feishu: {kind: feishu, url_env: FEISHU_WEBHOOK, secret_env: FEISHU_SECRET}`."
    yield "channels:"
    yield f"  {name}: {{kind: file, path: {path_scalar(log, plan.home) or scalar(log)}}}"


def _classes(team: Team) -> Iterator[str]:
    """The built-in classes tell `coo`; a team without one is told so, class by class."""
    used = [class_id for class_id in BUILT_IN if any(draft.class_id == class_id for draft in team.drafts)]
    yield ""
    yield "# Classes are sets of defaults; three are built in (docs/roster.md), and what stands here changes them."
    concerned = [class_id for class_id in used if COO in BUILT_IN[class_id]["notify"]]
    if team.has_coo or not concerned:
        yield "# classes: {developer: {checks: [all tests are green]}}"
        return
    yield "# They tell `coo`, which this team does not have."
    yield "classes:"
    for class_id in concerned:
        told = tuple("operator" if name == COO else name for name in BUILT_IN[class_id]["notify"])
        yield f"  {class_id}: {{notify: {flow(told)}}}"


def _workspace(draft: Draft, home: str, pattern: str, inner: str) -> Iterator[str]:
    if not draft.workspace or follows(draft, pattern):
        return
    place = path_scalar(draft.workspace, home)
    if place is None:
        yield f"{inner}# Its workspace cannot stand in a roster: {clean(draft.workspace, 200)}"
    else:
        yield f"{inner}workspace: {place}"


def _checks(checks: Sequence[str], inner: str) -> Iterator[str]:
    if not checks:
        return
    one_line = f"{inner}checks: {flow(checks)}"
    if len(one_line.encode("utf-8", "replace")) <= _WIDTH:
        yield one_line
        return
    yield f"{inner}checks:"
    yield from (f"{inner}  - {scalar(check)}" for check in checks)


def _pattern_of(draft: Draft) -> str:
    """The agent's workspace with `{id}` in the place of its id: at the end of the path, or as a directory in it."""
    if any(brace in draft.workspace for brace in "{}") or path_scalar(draft.workspace, "") is None:
        return ""
    head, _, last = draft.workspace.rpartition("/")
    if last.endswith(draft.id) and (last == draft.id or not re.match(r"[a-z0-9]", last[-len(draft.id) - 1])):
        return f"{head}/{last[: len(last) - len(draft.id)]}{{id}}"
    parts = draft.workspace.split("/")
    if draft.id not in parts:
        return ""
    place = len(parts) - 1 - parts[::-1].index(draft.id)
    return "/".join("{id}" if index == place else part for index, part in enumerate(parts))


def _aside(text: str) -> str:
    return f"  # {clean(text, 200)}" if text else ""
