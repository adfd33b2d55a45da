"""What a roster means once every default is filled in (rules R1 to R4)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.errors import UsageError
from heartbeat.policy import ParentRule, Policy, Recovery, anchor_of
from heartbeat.roster.load import load_roster
from heartbeat.roster.model import Agent, Operator, Roster
from tests.support.rosters import CLASS_LABELS, CLASS_POLICIES

REPOSITORY = Path(__file__).parents[2]
COO = "  coo: {class: high_frequency, notify: [self]}\n"
HOME = {"HOME": "/home/vincent"}


def load(tmp_path: Path, text: str, *, plug_ins: Iterable[str] = (), **environment: str) -> Roster:
    path = tmp_path / "agents.yaml"
    path.write_text(text, encoding="utf-8")
    return load_roster(path, {**HOME, **environment}, lambda: plug_ins)


def agent(tmp_path: Path, settings: str, *, top: str = "", classes: str = "") -> Agent:
    """The agent `w` of a team with a COO."""
    text = f"{top}\nclasses:\n{classes}\nagents:\n{COO}  w: {{{settings}}}\n"
    return load(tmp_path, text).agents["w"]


@pytest.mark.parametrize("class_id", CLASS_POLICIES)
def test_R3_a_class_has_the_numbers_of_the_rule(tmp_path: Path, class_id: str) -> None:
    found = agent(tmp_path, f"class: {class_id}", top="recovery: act")
    numbers = CLASS_POLICIES[class_id]
    assert found.policy == replace(numbers, anchor=anchor_of("w", numbers.every))
    assert found.class_label == CLASS_LABELS[class_id]


def test_R1_an_agent_overrides_any_setting_and_its_class_the_defaults(tmp_path: Path) -> None:
    classes = "  business: {label: Trade, max_rounds: 7, every: 20m, notify: creator, checks: [shared, both]}\n"
    settings = (
        "class: business, name: 写手, every: 1h30m, suspect_after: 2h, recover_after: 2h, runtime_limit: 90s, "
        "dependency_wait: 2d, notify: [operator, coo, operator], recovery: observe, dispatch: openclaw, "
        "require_output: true, checks: [own, both], backup: coo, patrol: true, template: t.md.j2, workspace: work"
    )
    found = agent(tmp_path, settings, classes=classes)
    assert found == Agent(
        id="w",
        name="写手",
        class_id="business",
        class_label="Trade",
        policy=Policy(
            every=timedelta(minutes=90),
            cron=None,
            suspect_after=timedelta(hours=2),
            recover_after=timedelta(hours=2),
            runtime_limit=timedelta(seconds=90),
            dependency_wait=timedelta(days=2),
            max_rounds=7,
            notify=("operator", "coo"),
            recovery=Recovery.OBSERVE,
            dispatch="openclaw",
            require_output=True,
            anchor=anchor_of("w", timedelta(minutes=90)),
        ),
        workspace=tmp_path / "work",
        patrol=True,
        checks=("own", "both", "shared"),
        backup="coo",
        template=tmp_path / "t.md.j2",
    )


def test_R3a_recovery_dispatch_and_output_come_from_the_agent_else_the_class_else_the_top(tmp_path: Path) -> None:
    text = (
        "recovery: observe\ndispatch: multica\nrequire_output: true\n"
        "classes: {business: {recovery: act, dispatch: none, require_output: false}}\n"
        f"agents:\n{COO}  class: {{class: business}}\n"
        "  own: {class: business, recovery: notify, dispatch: openclaw}\n"
    )
    agents = load(tmp_path, text).agents
    said = {name: (a.policy.recovery.value, a.policy.dispatch, a.policy.require_output) for name, a in agents.items()}
    assert said == {
        "coo": ("observe", "multica", True),
        "class": ("act", "none", False),
        "own": ("notify", "openclaw", False),
    }


def test_R3a_without_a_word_nothing_acts_and_nothing_is_dispatched(tmp_path: Path) -> None:
    policy = agent(tmp_path, "class: business").policy
    assert (policy.recovery, policy.dispatch, policy.require_output) == (Recovery.NOTIFY, "none", False)


def test_an_agents_own_rhythm_replaces_the_cron_of_its_class(tmp_path: Path) -> None:
    classes = "  business: {cron: '*/5  8-20 * * 1-5'}\n"
    assert agent(tmp_path, "class: business", classes=classes).policy.cron == "*/5 8-20 * * 1-5"
    faster = agent(tmp_path, "class: business, every: 5m", classes=classes).policy
    assert (faster.cron, faster.every) == (None, timedelta(minutes=5))
    assert faster.anchor == anchor_of("w", timedelta(minutes=5))
    both = agent(tmp_path, "class: business, every: 5m, cron: 0 9 * * mon", classes=classes).policy
    assert (both.cron, both.every) == ("0 9 * * mon", timedelta(minutes=5))
    assert both.anchor == timedelta(0), "the expression says when"


def test_B2_every_agent_has_slots_of_its_own_wherever_the_roster_stands(tmp_path: Path) -> None:
    text = f"agents:\n{COO}  w: {{class: business}}\n  x: {{class: business}}\n"
    here = load(tmp_path, text)
    (tmp_path / "elsewhere").mkdir()
    there = load(tmp_path / "elsewhere", f"timezone: America/New_York\n{text}")
    assert here.agents["w"].policy.anchor != here.agents["x"].policy.anchor
    for name in ("coo", "w", "x"):
        assert here.agents[name].policy.anchor == there.agents[name].policy.anchor != timedelta(0)


def test_a_class_of_another_name_gives_its_own_numbers(tmp_path: Path) -> None:
    classes = (
        "  night: {every: 1h, suspect_after: 2h, recover_after: 3h, runtime_limit: 4h, dependency_wait: 5h, "
        "max_rounds: 6, notify: []}\n"
    )
    found = agent(tmp_path, "class: night", classes=classes)
    assert found.class_label == "night"
    assert found.policy.recover_after == timedelta(hours=3)
    assert found.policy.notify == ()


def test_recover_after_may_equal_suspect_after(tmp_path: Path) -> None:
    assert agent(tmp_path, "class: business, suspect_after: 45m").policy.suspect_after == timedelta(minutes=45)


def test_agents_keep_the_order_in_which_they_are_written(tmp_path: Path) -> None:
    ids = ["zoe", "coo", "b-2", "a_1", "007"]
    team = "".join(f'  "{name}": {{class: business}}\n' for name in ids)
    assert list(load(tmp_path, f"agents:\n{team}").agents) == ids


def test_an_agent_that_is_not_enabled_is_not_in_the_team(tmp_path: Path) -> None:
    roster = load(tmp_path, f"agents:\n{COO}  w: {{class: business, enabled: false}}\n")
    assert list(roster.agents) == ["coo"]
    assert roster.extra["disabled_agents"] == ("w",)


def test_an_agent_without_a_name_is_called_by_its_id_and_has_no_multica_source(tmp_path: Path) -> None:
    found = agent(tmp_path, "class: business")
    assert (found.name, found.multica_id, found.workspace, found.template) == ("w", None, None, None)


def test_a_multica_id_is_kept_in_lower_case(tmp_path: Path) -> None:
    found = agent(tmp_path, "class: business, multica_id: 1C38B437-B54D-4784-BDA3-29CE4C8A6722")
    assert found.multica_id == "1c38b437-b54d-4784-bda3-29ce4c8a6722"


@pytest.mark.parametrize(
    ("base", "workspace"),
    [
        ("~/work", "/home/vincent/work/w"),
        ("~/.openclaw/workspace-{id}", "/home/vincent/.openclaw/workspace-w"),
        ("${BASE:-/srv}/{id}/files", "/srv/w/files"),
    ],
)
def test_workspaces_lie_under_one_directory_or_follow_one_pattern(tmp_path: Path, base: str, workspace: str) -> None:
    assert agent(tmp_path, "class: business", top=f"workspaces: {base}").workspace == Path(workspace)
    own = agent(tmp_path, "class: business, workspace: ~/mine", top=f"workspaces: {base}")
    assert own.workspace == Path("/home/vincent/mine")


def test_everything_has_a_default(tmp_path: Path) -> None:
    roster = load(tmp_path, "agents: {w: {class: business}}\n")
    assert roster.path == tmp_path / "agents.yaml"
    assert roster.timezone == "UTC"
    assert roster.operator == Operator()
    assert roster.parent_rule is ParentRule.STARTED
    assert (roster.state, roster.template, roster.channels) == (None, None, {})
    assert roster.escalation == {"first": "notify", "window": timedelta(hours=24), "storm": 3}
    assert roster.extra == {
        "recovery_status": "blocked",
        "quiet_after_talk": timedelta(minutes=10),
        "retention": timedelta(days=90),
        "snapshot_ttl": None,
        "providers": (),
        "failover": {
            "strategy": "native",
            "open_after": 3,
            "open_for": timedelta(minutes=5),
            "open_for_at_most": timedelta(hours=1),
        },
        "budget": {"turns_per_day": None, "cost_per_day_usd": None, "tokens_per_day": None},
        "limits": {"running": 4},
        "watchdog": {"grace": timedelta(minutes=5), "notify": ("operator",)},
        "on_complete": (),
        "disabled_agents": (),
    }


def test_every_setting_of_the_top_is_read(tmp_path: Path) -> None:
    roster = load(
        tmp_path,
        "version: 1\ntimezone: Asia/Shanghai\nstate: ~/state\ntemplate: own.md.j2\nrecovery_status: todo\n"
        "operator: {name: Vincent, notify: ops}\ndependencies: {parent: off}\nretention: 1w\nsnapshot_ttl: 5m\n"
        "escalation: {first: silent, window: 12h, storm: 5}\nquiet_after_talk: 90s\nlimits: {running: 2}\n"
        "budget: {turns_per_day: 100, cost_per_day_usd: 2.5, tokens_per_day: 1000000}\n"
        "failover: {strategy: managed, open_after: 5, open_for: 60s, open_for_at_most: 30m}\n"
        "watchdog: {grace: 10m, ping_url: '${PING}', beats_ping_url_env: BEATS, notify: [operator, ops, coo]}\n"
        "on_complete: [[notify-send, 'done $(id)'], [./after.sh]]\n"
        f"channels: {{ops: {{kind: file, path: ops.log}}}}\nagents:\n{COO}",
    )
    assert (roster.timezone, roster.operator) == ("Asia/Shanghai", Operator("Vincent", ("ops",)))
    assert (roster.state, roster.template) == (Path("/home/vincent/state"), tmp_path / "own.md.j2")
    assert roster.parent_rule is ParentRule.OFF
    assert roster.escalation == {"first": "silent", "window": timedelta(hours=12), "storm": 5}
    extra = roster.extra
    assert (extra["recovery_status"], extra["retention"]) == ("todo", timedelta(days=7))
    assert (extra["snapshot_ttl"], extra["quiet_after_talk"]) == (timedelta(minutes=5), timedelta(seconds=90))
    assert extra["budget"] == {"turns_per_day": 100, "cost_per_day_usd": 2.5, "tokens_per_day": 1000000}
    assert extra["limits"] == {"running": 2}
    assert extra["failover"]["open_for_at_most"] == timedelta(minutes=30)
    assert extra["watchdog"] == {
        "grace": timedelta(minutes=10),
        "ping_url_env": "PING",
        "beats_ping_url_env": "BEATS",
        "notify": ("operator", "ops", "coo"),
    }
    assert extra["on_complete"] == (("notify-send", "done $(id)"), ("./after.sh",))


def test_a_section_with_all_its_settings_commented_out_counts_as_empty(tmp_path: Path) -> None:
    text = "operator:\nescalation:\nchannels:\nclasses:\n  business:\nproviders:\nbudget:\nlimits:\nwatchdog:\n"
    roster = load(tmp_path, f"{text}sources:\n  todo:\nagents: {{w: {{class: business}}}}\n")
    assert roster.agents["w"].policy.max_rounds == 30
    assert list(roster.sources) == ["todo"]


def test_a_roster_without_sources_reads_all_three(tmp_path: Path) -> None:
    common = {"timeout": 60.0, "required": False}
    assert load(tmp_path, f"agents:\n{COO}").sources == {
        "workboard": {**common, "transport": "auto"},
        "multica": {**common, "transport": "auto"},
        "todo": {**common, "files": ("TODO.md", "AGENTS.md"), "bullets": False, "create_cards": False},
    }


def test_settings_of_sources_are_plain_with_paths_absolute_and_secrets_by_name(tmp_path: Path) -> None:
    roster = load(
        tmp_path,
        "sources:\n"
        "  workboard: {transport: file, path: saved/board.json, board: '${BOARD}', url: 'wss://gw.example:1/', "
        "token: '${GATEWAY_TOKEN}', binary: ~/bin/openclaw, required: true}\n"
        "  multica: {transport: cli, server_url: 'https://${HOST:-multica.example}/x', workspace_id: team, "
        "token_env: MULTICA_PAT, profile: work, binary: multica, timeout: 1m30s}\n"
        "  todo: {files: notes/*.md, bullets: true, create_cards: true}\n"
        f"agents:\n{COO}",
        BOARD="main",
    )
    assert roster.sources["workboard"] == {
        "transport": "file",
        "path": str(tmp_path / "saved/board.json"),
        "board": "main",
        "url": "wss://gw.example:1/",
        "token_env": "GATEWAY_TOKEN",
        "binary": "/home/vincent/bin/openclaw",
        "timeout": 60.0,
        "required": True,
    }
    assert roster.sources["multica"] == {
        "transport": "cli",
        "server_url": "https://multica.example/x",
        "workspace_id": "team",
        "token_env": "MULTICA_PAT",
        "profile": "work",
        "binary": "multica",
        "timeout": 90.0,
        "required": False,
    }
    assert roster.sources["todo"]["files"] == ("notes/*.md",)


def test_R4_a_secret_is_never_resolved_while_loading(tmp_path: Path) -> None:
    text = f"sources: {{multica: {{token: '${{PAT}}'}}}}\nagents:\n{COO}"
    assert load(tmp_path, text).sources["multica"]["token_env"] == "PAT"
    assert "hunter2" not in repr(load(tmp_path, text, PAT="hunter2"))


def test_a_plug_in_has_free_settings_with_references_resolved_and_secrets_by_name(tmp_path: Path) -> None:
    roster = load(
        tmp_path,
        "sources:\n  jira:\n    timeout: 5s\n    url: https://${HOST}\n    token: ${JIRA_TOKEN}\n"
        "    projects: [{key: A, password_env: A_PASSWORD, limit: 3, empty: }]\n"
        f"agents:\n{COO}",
        plug_ins=["jira"],
        HOST="jira.example",
    )
    assert roster.sources == {
        "jira": {
            "timeout": 5.0,
            "required": False,
            "url": "https://jira.example",
            "token_env": "JIRA_TOKEN",
            "projects": [{"key": "A", "password_env": "A_PASSWORD", "limit": 3, "empty": None}],
        }
    }


def test_plug_ins_are_looked_up_only_where_the_roster_names_one(tmp_path: Path) -> None:
    def never() -> Iterable[str]:
        raise AssertionError("not asked for")

    path = tmp_path / "agents.yaml"
    path.write_text(f"sources: {{todo: {{}}, workboard: {{}}}}\nagents:\n{COO}", encoding="utf-8")
    assert list(load_roster(path, {}, never).sources) == ["todo", "workboard"]


def test_channels_of_every_kind(tmp_path: Path) -> None:
    roster = load(
        tmp_path,
        "channels:\n"
        "  bot: {kind: feishu, url: '${FEISHU}', secret: '${FEISHU_SECRET}', min_level: critical}\n"
        "  hook: {kind: webhook, url: 'http://127.0.0.1:9000/alerts', token_env: HOOK}\n"
        "  here: {kind: webhook, url: 'http://[::1]/'}\n"
        "  phone: {kind: apprise, url_env: APPRISE}\n"
        "  chat: {kind: openclaw, channel: feishu, target: '${CHAT:-oc_1}', account: main}\n"
        "  log: {kind: file, path: ~/log}\n"
        f"agents:\n{COO}",
    )
    assert roster.channels == {
        "bot": {"kind": "feishu", "min_level": "critical", "url_env": "FEISHU", "secret_env": "FEISHU_SECRET"},
        "hook": {"kind": "webhook", "min_level": "info", "url": "http://127.0.0.1:9000/alerts", "token_env": "HOOK"},
        "here": {"kind": "webhook", "min_level": "info", "url": "http://[::1]/"},
        "phone": {"kind": "apprise", "min_level": "info", "url_env": "APPRISE"},
        "chat": {"kind": "openclaw", "min_level": "info", "channel": "feishu", "target": "oc_1", "account": "main"},
        "log": {"kind": "file", "min_level": "info", "path": "/home/vincent/log"},
    }


def test_providers_are_a_list_in_the_order_of_priority(tmp_path: Path) -> None:
    roster = load(
        tmp_path,
        "providers:\n"
        "  - {name: claude-opus, priority: 9, model: opus, timeout: 1m, run_deadline: 20m, enabled: false}\n"
        "  - {name: local, base_url: 'http://127.0.0.1:11435', api_key: '${KEY}', tags: [coding], ctx: 32768, "
        "cost: 0.5, local: true, timeout_sec: 2.5, max_retries: 0}\n"
        f"  - {{name: claude-haiku}}\nagents:\n{COO}",
    )
    local, haiku, opus = roster.extra["providers"]
    assert local == {
        "name": "local",
        "model": "local",
        "priority": 2,
        "max_retries": 0,
        "timeout": timedelta(seconds=2.5),
        "run_deadline": timedelta(minutes=10),
        "enabled": True,
        "base_url": "http://127.0.0.1:11435",
        "api_key_env": "KEY",
        "tags": ("coding",),
        "ctx": 32768,
        "cost": 0.5,
        "local": True,
    }
    assert (haiku["priority"], haiku["max_retries"], haiku["timeout"]) == (3, 3, timedelta(seconds=30))
    assert (opus["priority"], opus["model"], opus["enabled"]) == (9, "opus", False)
    assert (opus["timeout"], opus["run_deadline"]) == (timedelta(minutes=1), timedelta(minutes=20))


def test_providers_may_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    assert load(tmp_path, f"providers: p.json\nagents:\n{COO}").extra["providers"] == tmp_path / "p.json"


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("${HERE}/x", "/srv/x"),
        ("${EMPTY:-/else}/x", "/else/x"),
        ("${TILDE}/x", "/home/vincent/a/x"),
        ("$HERE/x", "$HERE/x"),
        ("$${HERE}/x", "${HERE}/x"),
        ("~", "/home/vincent"),
        ("../x", "../x"),
    ],
)
def test_references_and_the_home_directory_are_resolved_in_paths(tmp_path: Path, written: str, path: str) -> None:
    roster = load(tmp_path, f"state: {written}\nagents:\n{COO}", HERE="/srv", EMPTY="", TILDE="~/a")
    assert roster.state == tmp_path / path


def test_names_and_checks_are_taken_as_they_stand(tmp_path: Path) -> None:
    found = agent(tmp_path, "class: business, name: '${HOME} ~', checks: ['see ${HOME}', '- [ ] box']")
    assert (found.name, found.checks) == ("${HOME} ~", ("see ${HOME}", "- [ ] box"))


def test_a_relative_roster_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(tmp_path, f"agents:\n{COO}")
    monkeypatch.chdir(tmp_path)
    roster = load_roster(Path("agents.yaml"), {})
    assert roster.path == tmp_path / "agents.yaml"


def test_one_roster_has_one_path_however_it_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(tmp_path, f"state: state\nagents:\n{COO}")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    roster = load_roster(Path("../agents.yaml"), {})
    assert roster.path == tmp_path / "agents.yaml"
    assert roster.state == tmp_path / "state"


def test_a_link_to_the_roster_s_directory_is_kept(tmp_path: Path) -> None:
    (tmp_path / "release-12").mkdir()
    load(tmp_path / "release-12", f"agents:\n{COO}")
    (tmp_path / "current").symlink_to("release-12")
    assert load_roster(tmp_path / "current" / "agents.yaml", {}).path == tmp_path / "current" / "agents.yaml"


def test_a_roster_that_is_missing_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no roster") as caught:
        load_roster(tmp_path / "agents.yaml", {})
    assert "heartbeat demo" in caught.value.advice


def test_two_hundred_agents_are_as_welcome_as_two(tmp_path: Path) -> None:
    team = "".join(
        f"  agent-{n}: {{class: business, checks: [a, b], backup: agent-{(n + 1) % 200}}}\n" for n in range(200)
    )
    assert len(load(tmp_path, f"agents:\n{team}").agents) == 200


TEAM = [
    ("coo", "陆怀瑾", "high_frequency", "1c38b437-b54d-4784-bda3-29ce4c8a6722"),
    ("secretary", "刘诗妮", "high_frequency", "b024fcdc-30ff-420d-b289-498041466e1b"),
    ("projectmanager", "胡蓉", "developer", "d877b8c3-b230-4073-b3f7-80e148cfdb71"),
    ("productmanager", "沈路明", "developer", "a101fa88-d821-4839-9754-e04580d5fd68"),
    ("architect", "梁思筑", "developer", "40abd41a-62d0-416d-bc44-92c1f758d87a"),
    ("costcodev", "徐聪", "developer", "46bdd4a6-5c64-475a-92ef-36a763602fa1"),
    ("designer", "苏锦绘", "developer", "13bd8968-cc2a-4934-90c7-957a2d3c09c2"),
    ("opengineer", "严维序", "developer", "d3804433-9e2e-4199-a92b-a153049b3bc9"),
    ("taobaospecialist", "陆云帆", "business", "e0f62d8f-9568-4f41-8ad4-b73d79a163a7"),
    ("contentspecialist", "文墨言", "business", "8321b0bf-7d89-4ece-927a-0780f42ad396"),
    ("mediaspecialist", "钟帧韵", "business", "e2b587d4-1d16-447c-8ad9-e2a01358ff0a"),
    ("cvexpert", "程伯予", "business", "4a8696fd-6531-40da-8956-ef84d7ea3c43"),
    ("marketanalysis", "顾析策", "business", "5ed91729-658f-4654-98f0-3e0313022002"),
    ("lawyer", "苏慎", "business", "6fb0fbd2-16a6-4566-ba7a-d2c136baec25"),
    ("prompt-engineer", "许言", "business", None),
]

OWN_CHECKS = {
    "coo": ["全平台积压巡检：WorkBoard + Multica 全局待办数", "资源负载均衡检查", "风险识别与预警"],
    "secretary": ["全局任务积压巡检", "业务入口检查", "各 Agent 状态巡检"],
    "projectmanager": ["项目进度检查", "依赖项完成状态"],
    "productmanager": ["PRD 进度检查", "需求变更跟踪"],
    "architect": ["架构设计进度", "技术方案评审状态"],
    "costcodev": ["代码开发进度", "PR/Code Review 状态"],
    "designer": ["设计稿进度", "UI/UX 评审状态"],
    "opengineer": ["部署状态检查", "服务器/服务健康状况"],
    "taobaospecialist": ["淘宝店铺运营指标", "竞品动态跟踪"],
    "contentspecialist": ["内容发布计划", "素材准备状态"],
    "mediaspecialist": ["视频制作进度", "媒体素材准备状态"],
    "cvexpert": ["求职服务队列", "客户反馈跟踪"],
    "marketanalysis": ["市场分析任务", "竞品数据更新"],
    "lawyer": ["合同审查队列", "合规检查项"],
    "prompt-engineer": [],
}


@pytest.fixture(scope="module")
def sample() -> Roster:
    return load_roster(REPOSITORY / "agents.yaml", HOME)


def test_the_sample_has_the_whole_team_in_order(sample: Roster) -> None:
    assert [(each.id, each.name, each.class_id, each.multica_id) for each in sample.agents.values()] == TEAM


def test_the_sample_gives_each_agent_all_its_own_checks_and_then_its_classes(sample: Roster) -> None:
    found = {name: list(each.checks) for name, each in sample.agents.items()}
    assert {name: checks[: len(OWN_CHECKS[name])] for name, checks in found.items()} == OWN_CHECKS
    assert {name: len(checks) - len(OWN_CHECKS[name]) for name, checks in found.items()} == dict.fromkeys(OWN_CHECKS, 1)


def test_the_sample_keeps_the_numbers_and_targets_of_the_classes(sample: Roster) -> None:
    told = {"coo": ("self",), "secretary": ("coo",)}
    for name, each in sample.agents.items():
        expected = CLASS_POLICIES[each.class_id]
        assert each.policy.notify == told.get(name, expected.notify)
        assert each.policy.recovery is Recovery.ACT
        assert each.policy.every == expected.every
        assert each.policy.max_rounds == expected.max_rounds
        assert each.workspace == Path(f"/home/vincent/.openclaw/workspace-{name}")
    assert [name for name, each in sample.agents.items() if each.patrol] == ["coo", "secretary"]


def test_the_sample_names_its_operator_time_zone_and_state(sample: Roster) -> None:
    assert sample.timezone == "Asia/Shanghai"
    assert sample.operator == Operator("Vincent", ("ops",))
    assert sample.channels["ops"]["kind"] == "file"
    assert sample.state == Path("/home/vincent/.local/state/heartbeat")
    assert list(sample.sources) == ["workboard", "multica", "todo"]


def test_the_sample_offers_the_faster_beat_to_three_agents_and_it_is_valid(tmp_path: Path) -> None:
    text = (REPOSITORY / "agents.yaml").read_text("utf-8")
    faster, changed = re.subn(r"# (every: 10m|feishu: \{.*)$", r"\1", text, flags=re.MULTILINE)
    assert changed == 4
    roster = load(tmp_path, faster)
    quick = [name for name, each in roster.agents.items() if each.policy.every == timedelta(minutes=10)]
    assert quick == ["coo", "secretary", "projectmanager", "costcodev", "opengineer"]
    assert roster.channels["feishu"]["url_env"] == "FEISHU_WEBHOOK"


def test_the_sample_states_the_defaults_as_they_are(sample: Roster) -> None:
    text = (REPOSITORY / "agents.yaml").read_text("utf-8")
    for class_id, policy in CLASS_POLICIES.items():
        (line,) = re.findall(rf"^#   {class_id} +(.*)$", text, flags=re.MULTILINE)
        numbers = line.split(maxsplit=6)
        stated = [timedelta(minutes=int(each[:-1]) * (60 if each[-1] == "h" else 1)) for each in numbers[:5]]
        assert stated == [
            policy.every,
            policy.suspect_after,
            policy.recover_after,
            policy.runtime_limit,
            policy.dependency_wait,
        ]
        assert int(numbers[5]) == policy.max_rounds
        assert numbers[6] == f"[{', '.join(policy.notify)}]"


def test_the_roster_modules_of_start_up_import_neither_pydantic_nor_yaml() -> None:
    heavy = "{'pydantic', 'yaml', 'croniter', 'platformdirs'}"
    code = (
        "import sys; import heartbeat.roster.locate, heartbeat.roster.model, heartbeat.policy; "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"
