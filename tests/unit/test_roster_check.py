"""Broken rosters: every mistake at once, each with its line, its column and its mend (rule R1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.errors import Exit, RosterError
from heartbeat.roster.load import load_roster

TEAM = "agents:\n  coo: {class: high_frequency, notify: [self]}\n"
"""Two lines without a mistake; what a case adds begins on line 3."""


def mistakes(tmp_path: Path, text: str, **environment: str) -> list[str]:
    """The problems without the path before them."""
    path = tmp_path / "agents.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RosterError) as caught:
        load_roster(path, environment, lambda: ["jira"])
    assert caught.value.exit_code == Exit.USAGE
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


FIVE_FIELDS = (
    ' must have five fields: minute, hour, day of month, month, day of week; write for example "*/10 8-20 * * 1-5"'
)
LIST_OF_CLASSES = "high_frequency, developer, business"
NO_SECRET = "a secret must not stand in the roster; write ${NAME}, in capitals, and set NAME where heartbeat runs"
NAMES = "a name here is 1 to 64 lower-case letters, digits, `-` and `_`, beginning with a letter or digit"
NO_VARIABLE = "must be the name of an environment variable, in capitals; never the secret itself"
EMPTY = "is empty; give it a value or remove the line"

CASES: dict[str, tuple[str, list[str]]] = {
    "a list": ("- a\n", ["1:1: a roster is a mapping of settings such as `agents:`, and this is something else"]),
    "no agents": ("agents:\n", ["1:1: agents: the roster has no agents; write at least one under `agents:`"]),
    "agents as a list": ("agents: [coo]\n", ["1:9: agents: must be a mapping of names to settings, not a list"]),
    "nobody enabled": (
        "agents:\n  w: {class: business, enabled: false}\n",
        ["1:1: agents: every agent is `enabled: false`; there would be nobody left"],
    ),
    "unknown keys": (
        TEAM + "  w: {class: business, evry: 10m}\nretension: 90d\nevery: 10m\nnonsense: 1\n",
        [
            "3:24: agents.w: unknown key `evry`; did you mean `every`?",
            "4:1: unknown key `retension`; did you mean `retention`?",
            "5:1: unknown key `every`; it belongs to a class or an agent",
            "6:1: unknown key `nonsense`",
        ],
    ),
    "unknown keys of small sections": (
        TEAM + "limits: {runing: 4}\noperator: {e-mail: x, every: 1m}\n",
        [
            "3:10: limits: unknown key `runing`; did you mean `running`?",
            "4:12: operator: unknown key `e-mail`; known here: name, notify",
            "4:23: operator: unknown key `every`; known here: name, notify",
        ],
    ),
    "an agent without a class": (
        TEAM + "  w:\n  x: {name: X}\n  y: {class: }\n",
        [
            "3:3: agents.w.class: is missing; write it",
            "4:3: agents.x.class: is missing; write it",
            f"5:7: agents.y.class: {EMPTY}",
        ],
    ),
    "agents that are no mappings": (
        TEAM + "  w: 5\n  x: business\n",
        ["3:6: agents.w: must be a mapping, not a number", "4:6: agents.x: must be a mapping, not text"],
    ),
    "R2 agent ids": (
        TEAM
        + "  COO: {class: business}\n  ../etc: {class: business}\n  -x: {class: business}\n"
        + f"  {'x' * 65}: {{class: business}}\n  self: {{class: business}}\n  中: {{class: business}}\n",
        [
            f"3:3: agents.COO: {NAMES}; write for example `coo`",
            f"4:3: agents.../etc: {NAMES}; write for example `etc`",
            f"5:3: agents.-x: {NAMES}; write for example `x`",
            f"6:3: agents.{'x' * 59}…: {NAMES}; write for example `{'x' * 59}…`",
            "7:3: agents.self: `self` is a role in `notify`; give the agent another id",
            f"8:3: agents.中: {NAMES}",
        ],
    ),
    "a class that is not there": (
        TEAM + "  w: {class: busines}\n  x: {class: night}\n",
        [
            "3:14: agents.w.class: there is no class `busines`; did you mean `business`?",
            f"4:14: agents.x.class: there is no class `night`; known here: {LIST_OF_CLASSES}",
        ],
    ),
    "a class of its own without its numbers": (
        TEAM + "classes:\n  night: {every: 1h, max_rounds: 3, notify: []}\n  busines:\n",
        [
            "4:3: classes.night: lacks suspect_after, recover_after, runtime_limit, dependency_wait: "
            "a class that is not built in has no defaults",
            "5:3: classes.busines: lacks every, suspect_after, recover_after, runtime_limit, dependency_wait, "
            "max_rounds, notify: a class that is not built in has no defaults; did you mean `business`?",
        ],
    ),
    "Multica ids": (
        TEAM
        + "  w: {class: business, multica_id: 1C38B437-b54d-4784-bda3-29ce4c8a6722}\n"
        + "  x: {class: business, multica_id: 1c38b437-b54d-4784-bda3-29ce4c8a6722}\n"
        + "  y: {class: business, multica_id: 1c38b437}\n",
        [
            "4:36: agents.x.multica_id: is also the id of `w` on line 3; each agent has its own",
            "5:36: agents.y.multica_id: must be the agent's UUID as `multica agent list` shows it: "
            "8-4-4-4-12 hexadecimal digits",
        ],
    ),
    "whom to tell": (
        TEAM
        + "  w: {class: business, notify: [cooo, self, creator, operator, x, ops]}\n"
        + "  x: {class: business, notify: opps}\n"
        + "channels: {ops: {kind: file, path: log}}\n",
        [
            "3:33: agents.w.notify[0]: there is no role, agent or channel `cooo`; did you mean `coo`?",
            "4:32: agents.x.notify: there is no role, agent or channel `opps`; did you mean `ops`?",
        ],
    ),
    "whom the operator and the watchdog tell": (
        TEAM + "operator: {notify: [coo]}\nwatchdog: {notify: [coo, operator, self]}\n",
        [
            "3:21: operator.notify[0]: there is no channel `coo`; channels are written under `channels:`",
            "4:36: watchdog.notify[2]: `self` means nobody here; name operator, an agent or a channel",
        ],
    ),
    "coo by default, and no coo": (
        "agents:\n  w: {class: developer}\n  x: {class: developer}\n  y: {class: high_frequency, notify: coo}\n"
        "  z: {class: business}\n",
        [
            "2:3: agents.w: class developer, the class of 2 such agents, tells `coo` by default, and the roster has "
            "no agent `coo`; add one, or write for example `notify: [operator]`",
            "4:38: agents.y.notify: the roster has no agent `coo`; add one, or name somebody else, "
            "for example operator",
        ],
    ),
    "coo by default, and coo is off": (
        "agents:\n  coo: {class: high_frequency, enabled: false}\n  w: {class: developer}\n",
        [
            "3:3: agents.w: class developer tells `coo` by default, and the agent `coo` is `enabled: false`; "
            "add one, or write for example `notify: [operator]`",
        ],
    ),
    "agents that are off": (
        TEAM + "  w: {class: business, enabled: false}\n  x: {class: business, notify: [w], backup: w}\n",
        [
            "4:33: agents.x.notify[0]: `w` is `enabled: false` and hears nothing; name another one",
            "4:45: agents.x.backup: `w` is `enabled: false`; name an agent that works",
        ],
    ),
    "backups": (
        TEAM
        + "  w: {class: business, backup: w}\n  x: {class: business, backup: lawyr}\n  lawyer: {class: business}\n",
        [
            "3:32: agents.w.backup: an agent cannot stand in for itself; name another one",
            "4:32: agents.x.backup: there is no agent `lawyr`; did you mean `lawyer`?",
        ],
    ),
    "thresholds in the wrong order": (
        TEAM
        + "  w: {class: business, suspect_after: 2h}\n  x: {class: business, recover_after: 1m}\n"
        + "  y: {class: developer, suspect_after: 45m}\nclasses:\n  business: {suspect_after: 1h}\n",
        [
            "3:39: agents.w.suspect_after: recover_after (45m) comes before suspect_after (2h); make it 2h or longer",
            "4:39: agents.x.recover_after: recover_after (1m) comes before suspect_after (1h); make it 1h or longer",
            "7:29: classes.business.suspect_after: recover_after (45m) comes before suspect_after (1h); "
            "make it 1h or longer",
        ],
    ),
    "durations and numbers": (
        TEAM
        + "  w: {class: business, every: 10, suspect_after: 10 min, max_rounds: 0}\n"
        + "  x: {class: business, every: 0m, runtime_limit: 9999d, max_rounds: 1.5}\n"
        + "retention: 1:30\nquiet_after_talk: [1m]\n",
        [
            "3:31: agents.w.every: 10 has no unit; write 10m for minutes or 10s for seconds",
            "3:50: agents.w.suspect_after: `10 min` is no duration; write 90s, 20m, 1h30m or 2d",
            "3:70: agents.w.max_rounds: must be a whole number of at least 1, not `0`",
            "4:31: agents.x.every: `0m` is no duration; write 90s, 20m, 1h30m or 2d",
            "4:50: agents.x.runtime_limit: `9999d` is longer than ten years; write a shorter one",
            "4:69: agents.x.max_rounds: must be a whole number of at least 1, not `1.5`",
            "5:12: retention: `1:30` is no duration; write 90s, 20m, 1h30m or 2d",
            "6:19: quiet_after_talk: must be a duration such as 10m, not a list",
        ],
    ),
    "words to choose from": (
        TEAM
        + "recovery: acts\nrecovery_status: done\ndispatch: off\nrequire_output: yes\ndependencies: {parent: false}\n"
        + "escalation: {first: silence}\nfailover: {strategy: 1}\n",
        [
            "3:11: recovery: must be one of observe, notify, act, not `acts`; did you mean `act`?",
            "4:18: recovery_status: must be one of blocked, todo, not `done`",
            "5:11: dispatch: must be one of none, openclaw, multica, not `off`",
            "6:17: require_output: must be true or false, not `yes`",
            "7:24: dependencies.parent: must be one of started, strict, off, not `false`",
            "8:21: escalation.first: must be one of notify, silent, not `silence`; did you mean `silent`?",
            "9:22: failover.strategy: must be one of native, managed, not `1`",
        ],
    ),
    "texts": (
        TEAM + '  w: {class: business, name: true, checks: [1, "a\\nb", "\\e[1m", [x]]}\n',
        [
            "3:30: agents.w.name: must be text; write true in quotes",
            "3:45: agents.w.checks[0]: must be text; write 1 in quotes",
            "3:48: agents.w.checks[1]: must be one line without control or direction characters",
            "3:56: agents.w.checks[2]: must be one line without control or direction characters",
            "3:65: agents.w.checks[3]: must be text, not a list",
        ],
    ),
    "empty settings": (
        TEAM + "state:\nbudget: {tokens_per_day: }\nchannels: {ops: {kind: file, path: ''}}\n",
        [f"3:1: state: {EMPTY}", f"4:10: budget.tokens_per_day: {EMPTY}", f"5:36: channels.ops.path: {EMPTY}"],
    ),
    "version and time zone": (
        TEAM + "version: 2\ntimezone: Asia/Shanghi\n",
        [
            "3:10: version: this heartbeat reads version 1; write `version: 1`",
            "4:11: timezone: `Asia/Shanghi` is no time zone that this machine knows; did you mean `Asia/Shanghai`?",
        ],
    ),
    "sections of another shape": (
        TEAM + "operator: Vincent\nescalation: [1]\non_complete: notify-send\nchannels: [ops]\nproviders: 5\n",
        [
            "3:11: operator: must be a mapping, not text",
            "4:13: escalation: must be a mapping, not a list",
            "5:14: on_complete: must be a list, not text",
            "6:11: channels: must be a mapping of names to settings, not a list",
            "7:12: providers: must be a path or a list of providers, not a number",
        ],
    ),
    "commands": (
        TEAM + "on_complete: [notify-send done, [], [echo, 1]]\n",
        [
            '3:15: on_complete[0]: must be a list of words such as [notify-send, "done"]; there is no shell',
            '3:33: on_complete[1]: must be a list of words such as [notify-send, "done"]; there is no shell',
            "3:37: on_complete[2]: must be text; write 1 in quotes",
        ],
    ),
    "no source": (
        TEAM + "sources:\n",
        ["3:1: sources: names no source; name some of workboard, multica, todo, or remove the line"],
    ),
    "unknown sources": (
        TEAM + "sources: {workbord: {}, github: {}}\n",
        [
            "3:11: sources.workbord: no source of this name is installed; did you mean `workboard`?",
            "3:25: sources.github: no source of this name is installed; known here: workboard, multica, todo, jira",
        ],
    ),
    "settings of sources": (
        TEAM
        + "sources:\n  workboard: {transport: file, url: 'http://127.0.0.1', timeout: 60}\n"
        + "  multica: {transport: gateway, server_url: multica.example, required: 1}\n"
        + "  todo: {files: [../x, /etc/passwd, a/HEARTBEAT.md], transport: auto}\n",
        [
            "4:37: sources.workboard.url: must begin with wss:// or ws://",
            "4:66: sources.workboard.timeout: 60 has no unit; write 60m for minutes or 60s for seconds",
            "5:24: sources.multica.transport: must be one of auto, api, cli, file, not `gateway`",
            "5:45: sources.multica.server_url: must begin with https:// or http:// or wss:// or ws://",
            "5:72: sources.multica.required: must be true or false, not `1`",
            "6:18: sources.todo.files[0]: `../x` leads out of the workspace; name a file inside it",
            "6:24: sources.todo.files[1]: `/etc/passwd` leads out of the workspace; name a file inside it",
            "6:37: sources.todo.files[2]: HEARTBEAT.md is never read for tasks: "
            "what heartbeat writes must not come back as work",
            "6:54: sources.todo: unknown key `transport`; known here: timeout, required, files, bullets, create_cards",
        ],
    ),
    "a saved file without its path": (
        TEAM + "sources:\n  workboard: {transport: file}\n",
        ["4:3: sources.workboard: `transport: file` needs a `path` to the saved JSON"],
    ),
    "R4 secrets": (
        TEAM
        + "sources:\n  multica: {token: mul_0123456789}\n  workboard: {token_env: s3cret}\n"
        + "  jira: {password: x, deep: [{api_token: y}], timeout: 60, required: 1}\n",
        [
            f"4:20: sources.multica.token: {NO_SECRET}",
            f"5:26: sources.workboard.token_env: {NO_VARIABLE}",
            f"6:20: sources.jira.password: {NO_SECRET}",
            f"6:42: sources.jira.deep[0].api_token: {NO_SECRET}",
            "6:56: sources.jira.timeout: 60 has no unit; write 60m for minutes or 60s for seconds",
            "6:70: sources.jira.required: must be true or false, not `1`",
        ],
    ),
    "a secret given in both ways": (
        TEAM
        + "sources: {multica: {token: '${A}', token_env: A}, jira: {x: {secret: '${A}', secret_env: A}}}\n"
        + "watchdog: {ping_url: '${A}', ping_url_env: A, beats_ping_url: '${A}', beats_ping_url_env: A}\n",
        [
            "3:36: sources.multica.token_env: stands beside `token`; keep one of them",
            "3:78: sources.jira.x.secret_env: stands beside `secret`; keep one of them",
            "4:30: watchdog.ping_url_env: stands beside `ping_url`; keep one of them",
            "4:71: watchdog.beats_ping_url_env: stands beside `beats_ping_url`; keep one of them",
        ],
    ),
    "channels": (
        TEAM
        + "channels:\n  coo: {kind: file, path: x}\n  a: {kind: fieshu}\n  b: {}\n  c: {kind: apprise}\n"
        + "  d: {kind: openclaw, channel: 12}\n  e: text\n  f: {kind: webhook, url_env: F, min_level: warn}\n"
        + "  g: {kind: feishu, url: 'https://open.feishu.example/x'}\n"
        + "  i: {kind: webhook, url: 'http://127.0.0.1/${TOKEN}'}\n  H: {kind: file, path: x}\n",
        [
            "4:3: channels.coo: `notify` already knows this name; give the channel another one",
            "5:13: channels.a.kind: there is no such kind of channel; did you mean `feishu`?",
            "6:3: channels.b: a channel needs a `kind`: feishu, webhook, openclaw, apprise, file",
            "7:3: channels.c: a channel of kind apprise needs `url_env: NAME`, the variable that holds its address",
            "8:3: channels.d.target: is missing; write it",
            "8:32: channels.d.channel: must be text; write 12 in quotes",
            "9:6: channels.e: must be a mapping, not text",
            "10:45: channels.f.min_level: must be one of info, warning, critical, not `warn`; did you mean `warning`?",
            f"11:26: channels.g.url: {NO_SECRET}",
            f"12:27: channels.i.url: {NO_SECRET}",
            f"13:3: channels.H: {NAMES}; write for example `h`",
        ],
    ),
    "providers": (
        TEAM
        + "providers:\n  - {name: a, timeout: 1m, timeout_sec: 3}\n  - {nam: b}\n  - {name: a, base_url: 'ftp://x'}\n"
        "  - {name: a, timeout_sec: 0}\n  - {name: a}\n",
        [
            "4:28: providers[0].timeout_sec: stands beside `timeout`; keep one of them",
            "5:5: providers[1].name: is missing; write it",
            "5:6: providers[1]: unknown key `nam`; did you mean `name`?",
            "6:25: providers[2].base_url: must begin with https:// or http://",
            "7:28: providers[3].timeout_sec: must be a number above 0, not `0`",
            "8:12: providers[4].name: `a` is an earlier provider's name",
        ],
    ),
    "references": (
        TEAM
        + "state: ${NOWHERE}/x\ntemplate: ~bob/x\nworkspaces: /x/{agent}\n"
        + "sources: {workboard: {path: '${A B}', board: '${NOWHERE}'}}\n",
        [
            "3:8: state: the environment variable NOWHERE is not set; "
            "set it where heartbeat runs, or write ${NOWHERE:-text}",
            "4:11: template: `~` is understood for your own home only; write the path of the other one in full",
            "5:13: workspaces: knows no braces but {id}, the agent's id",
            "6:29: sources.workboard.path: `${` begins a reference: write ${NAME} or ${NAME:-text}, "
            "or $${ for the characters",
            "6:46: sources.workboard.board: the environment variable NOWHERE is not set; "
            "set it where heartbeat runs, or write ${NOWHERE:-text}",
        ],
    ),
    "a refused value brings no further mistakes": (
        TEAM + "  w: {class: *c, backup: !b x}\nchannels: {a: {kind: *k}, b: *b}\nsources: *s\n",
        [
            "3:14: aliases are refused; write the value of `*c` out here",
            "3:26: tags are refused; remove `!b`",
            "4:22: aliases are refused; write the value of `*k` out here",
            "4:30: aliases are refused; write the value of `*b` out here",
            "5:10: aliases are refused; write the value of `*s` out here",
        ],
    ),
    "what YAML allows and a roster does not": (
        TEAM + "  w: &w {class: business, evry: 1m}\n  x: *w\n  y: {class: !!str business}\n  w: {}\n",
        [
            "3:6: anchors are refused; remove `&w` and write the value out where it is needed",
            "3:27: agents.w: unknown key `evry`; did you mean `every`?",
            "4:6: aliases are refused; write the value of `*w` out here",
            "5:14: tags are refused; remove `!!str`",
            "6:3: `w` is written twice, first on line 3; keep one",
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_R1_every_mistake_is_told_with_its_place_and_mend(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert mistakes(tmp_path, text) == expected


def test_R1_a_mistake_in_one_section_hides_none_in_another(tmp_path: Path) -> None:
    text = (
        "timezone: Mars/Olympus\nnonsense: 1\nagents:\n"
        "  w: {class: nothing, every: 5, notify: [nobody], backup: nobody}\n"
        "channels: {a: {kind: file}}\nsources: {github: {}}\nproviders: [{}]\n"
    )
    lines = [int(mistake.split(":")[0]) for mistake in mistakes(tmp_path, text)]
    assert lines == [1, 2, 4, 4, 4, 4, 5, 6, 7]


def test_a_channel_and_an_agent_may_not_share_a_name(tmp_path: Path) -> None:
    text = TEAM + "  ops: {class: business}\nchannels: {ops: {kind: file, path: x}}\n"
    (mistake,) = mistakes(tmp_path, text)
    assert mistake == "4:12: channels.ops: `notify` already knows this name; give the channel another one"


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        (
            "* * * *",
            FIVE_FIELDS,
        ),
        (
            "* * * * * *",
            FIVE_FIELDS,
        ),
        (
            "@daily",
            FIVE_FIELDS,
        ),
        ("59/10 * * * *", ": cron and heartbeat differ on `59/10`; write `*/10`"),
        ("5/10 * * * *", ": cron and heartbeat differ on `5/10`; write `*/10` or a range such as `5-59/10`"),
        ("1,30/5 2 * * *", ": cron and heartbeat differ on `30/5`; write `*/5` or a range such as `30-59/5`"),
        ("*/61 * * * *", ": a step of 61 is too long for the minute; at most 59"),
        ("0 */24 * * *", ": a step of 24 is too long for the hour; at most 23"),
        ("R * * * *", ": `R` cannot stand for the minute"),
        ("H H * * *", ": `H` cannot stand for the minute"),
        ("0 R(0-3) * * *", ": `R(0-3)` cannot stand for the hour"),
        ("0 0 * * h", ": `h` cannot stand for the day of week"),
        ("60 * * * *", " never comes or is out of range; check it field by field"),
        ("*/0 * * * *", " never comes or is out of range; check it field by field"),
        ("0 0 30 2 *", " never comes or is out of range; check it field by field"),
        ("* * 30 * 0#1", " never comes or is out of range; check it field by field"),
        ("0 0 * jox *", " never comes or is out of range; check it field by field"),
    ],
)
def test_a_cron_expression_that_does_not_come_evenly_is_refused(
    tmp_path: Path, expression: str, complaint: str
) -> None:
    (mistake,) = mistakes(tmp_path, TEAM + f"  w: {{class: business, cron: '{expression}'}}\n")
    assert mistake == f"3:30: agents.w.cron: `{expression}`{complaint}"


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, TEAM + "state: ${PLACE}\n", PLACE="")
    assert mistake.startswith("3:8: state: the environment variable PLACE is not set;")


def test_an_address_from_the_environment_is_checked_and_not_repeated(tmp_path: Path) -> None:
    text = TEAM + "sources: {multica: {server_url: '${ADDRESS}'}}\n"
    (mistake,) = mistakes(tmp_path, text, ADDRESS="https://me:hunter2@multica.example")
    assert mistake == (
        "3:33: sources.multica.server_url: holds a user name or password; take it out, secrets stand in the environment"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version: 1\nagents：\n  coo: {}\n", "2:7: the full-width ： is no YAML punctuation; write `: `"),
        ("version: 1\nagents:\n  coo: {name：a}\n", "3:13: the full-width ： is no YAML punctuation"),
        ("version: 1\nagents:\n  coo: {name: a， class: x}\n", "3:16: the full-width ， is no YAML punctuation"),
        ("version: 1\nagents:\n\u3000coo: {}\n", "3:1: a full-width space is no YAML punctuation"),
    ],
)
def test_R1_full_width_punctuation_of_a_chinese_keyboard_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "agents.yaml"
    path.write_text(text)
    with pytest.raises(RosterError) as caught:
        load_roster(path, {})
    assert any(problem.startswith(f"{path}:{told}") for problem in caught.value.problems)
