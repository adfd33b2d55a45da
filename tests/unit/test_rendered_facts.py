"""Every number, name and check of the fourteen hand-written files stands in the rendered ones, and each is under 5 KB.

The table was read off the files that the template replaces, one by one; the sample roster has to reproduce it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from heartbeat.render import command_line, render_agent
from heartbeat.render.managed import Block, find_block
from heartbeat.roster.load import load_roster
from heartbeat.roster.model import Roster

SAMPLE = Path(__file__).resolve().parents[2] / "agents.yaml"


@dataclass(frozen=True)
class Facts:
    name: str
    multica_id: str
    label: str
    every: int
    suspect: int
    recover: int
    runtime: int
    wait: str
    rounds: int
    warn: int
    notify: str
    checks: tuple[str, ...]
    class_check: str


WATCHING = ("高频 Agent", 10, 20, 30, 60, "1h", 50, 40)
BUILDING = ("开发 Agent", 15, 30, 45, 120, "2h", 100, 80)
TRADING = ("业务 Agent", 15, 30, 45, 90, "2h", 30, 24)

FACTS = {
    "architect": Facts(
        "梁思筑",
        "40abd41a-62d0-416d-bc44-92c1f758d87a",
        *BUILDING,
        "COO + 创建者",
        ("架构设计进度", "技术方案评审状态"),
        "测试",
    ),
    "contentspecialist": Facts(
        "文墨言",
        "8321b0bf-7d89-4ece-927a-0780f42ad396",
        *TRADING,
        "创建者",
        ("内容发布计划", "素材准备状态"),
        "质量",
    ),
    "coo": Facts(
        "陆怀瑾",
        "1c38b437-b54d-4784-bda3-29ce4c8a6722",
        *WATCHING,
        "COO（自我监控）",
        ("全平台积压巡检", "资源负载均衡检查", "风险识别与预警"),
        "5 KB",
    ),
    "costcodev": Facts(
        "徐聪",
        "46bdd4a6-5c64-475a-92ef-36a763602fa1",
        *BUILDING,
        "COO + 创建者",
        ("代码开发进度", "PR/Code Review 状态"),
        "测试",
    ),
    "cvexpert": Facts(
        "程伯予",
        "4a8696fd-6531-40da-8956-ef84d7ea3c43",
        *TRADING,
        "创建者",
        ("求职服务队列", "客户反馈跟踪"),
        "质量",
    ),
    "designer": Facts(
        "苏锦绘",
        "13bd8968-cc2a-4934-90c7-957a2d3c09c2",
        *BUILDING,
        "COO + 创建者",
        ("设计稿进度", "UI/UX 评审状态"),
        "测试",
    ),
    "lawyer": Facts(
        "苏慎",
        "6fb0fbd2-16a6-4566-ba7a-d2c136baec25",
        *TRADING,
        "创建者",
        ("合同审查队列", "合规检查项"),
        "质量",
    ),
    "marketanalysis": Facts(
        "顾析策",
        "5ed91729-658f-4654-98f0-3e0313022002",
        *TRADING,
        "创建者",
        ("市场分析任务", "竞品数据更新"),
        "质量",
    ),
    "mediaspecialist": Facts(
        "钟帧韵",
        "e2b587d4-1d16-447c-8ad9-e2a01358ff0a",
        *TRADING,
        "创建者",
        ("视频制作进度", "媒体素材准备状态"),
        "质量",
    ),
    "opengineer": Facts(
        "严维序",
        "d3804433-9e2e-4199-a92b-a153049b3bc9",
        *BUILDING,
        "COO + 创建者",
        ("部署状态检查", "服务器/服务健康状况"),
        "测试",
    ),
    "productmanager": Facts(
        "沈路明",
        "a101fa88-d821-4839-9754-e04580d5fd68",
        *BUILDING,
        "COO + 创建者",
        ("PRD 进度检查", "需求变更跟踪"),
        "测试",
    ),
    "projectmanager": Facts(
        "胡蓉",
        "d877b8c3-b230-4073-b3f7-80e148cfdb71",
        *BUILDING,
        "COO + 创建者",
        ("项目进度检查", "依赖项完成状态"),
        "测试",
    ),
    "secretary": Facts(
        "刘诗妮",
        "b024fcdc-30ff-420d-b289-498041466e1b",
        *WATCHING,
        "COO",
        ("全局任务积压巡检", "业务入口检查", "各 Agent 状态巡检"),
        "5 KB",
    ),
    "taobaospecialist": Facts(
        "陆云帆",
        "e0f62d8f-9568-4f41-8ad4-b73d79a163a7",
        *TRADING,
        "创建者",
        ("淘宝店铺运营指标", "竞品动态跟踪"),
        "质量",
    ),
}

TEAM = (*FACTS, "prompt-engineer")


@cache
def sample() -> Roster:
    return load_roster(SAMPLE, {})


@cache
def rendered(agent_id: str) -> str:
    return render_agent(sample(), sample().agents[agent_id])


def test_the_sample_roster_is_the_team_of_fifteen() -> None:
    assert sorted(sample().agents) == sorted(TEAM)


@pytest.mark.parametrize("agent_id", FACTS)
def test_R3_every_fact_of_the_hand_written_file_is_in_the_rendered_one(agent_id: str) -> None:
    facts, text = FACTS[agent_id], rendered(agent_id)
    expected = (
        f"# HEARTBEAT.md · {facts.name}（{agent_id}）",
        f"分类：{facts.label}",
        f"OpenClaw Agent ID：`{agent_id}`",
        f"Multica Agent UUID：`{facts.multica_id}`",
        f"`heartbeat worklist {agent_id}`",
        f"`heartbeat tasks --agent {agent_id}`",
        "`heartbeat doctor`",
        f"心跳频率：{facts.every} 分钟",
        f"超过 {facts.suspect} 分钟无进展 → 疑似超时",
        f"超过 {facts.recover} 分钟无进展 → 确认超时",
        f"运行满 {facts.runtime} 分钟且连续 3 轮无进展",
        f"等待超过阈值（{facts.wait}）",
        f"轮次上限：{facts.rounds} 轮",
        f"80%（{facts.warn} 轮）",
        f"释放认领，退回 todo → 通知 {facts.notify}\n",
        f"status=blocked → 通知 {facts.notify}\n",
        f"保存进展，通知 {facts.notify}。",
        *facts.checks,
    )
    assert [fact for fact in expected if fact not in text] == []


@pytest.mark.parametrize("agent_id", FACTS)
def test_no_number_of_another_class_slipped_in(agent_id: str) -> None:
    facts = FACTS[agent_id]
    minutes = {int(found) for found in re.findall(r"(\d+) 分钟", rendered(agent_id))}
    assert minutes == {facts.every, facts.suspect, facts.recover, facts.runtime}
    rounds = {int(found) for found in re.findall(r"(\d+) 轮", rendered(agent_id))}
    assert rounds == {facts.rounds, facts.warn, 3}
    assert set(re.findall(r"\b\d+h\b", rendered(agent_id))) == {facts.wait}


@pytest.mark.parametrize("agent_id", FACTS)
def test_own_checks_come_once_each_after_the_common_ones_and_in_order(agent_id: str) -> None:
    section = rendered(agent_id).split("## 每次心跳检查\n", 1)[1].split("\n## ", 1)[0]
    numbered = re.findall(r"^(\d+)\. (.*)$", section, re.MULTILINE)
    assert [int(number) for number, _ in numbered] == list(range(1, len(numbered) + 1))
    own = [text for _, text in numbered[5:]]
    assert len(own) == len(sample().agents[agent_id].checks)
    places = [next((index for index, text in enumerate(own) if check in text), -1) for check in FACTS[agent_id].checks]
    inside = [place for place in places if place >= 0]
    assert inside == sorted(set(inside))
    assert sum(FACTS[agent_id].class_check in text for text in own) == 1
    # The COO's patrol may stand in a section of its own instead.
    missing = [check for check, place in zip(FACTS[agent_id].checks, places, strict=True) if place < 0]
    assert missing in ([], ["全平台积压巡检"])


def test_the_fifteenth_has_the_numbers_of_its_class_and_no_multica() -> None:
    text = rendered("prompt-engineer")
    assert "许言（prompt-engineer）" in text
    assert "Multica Agent UUID：无" in text
    assert "轮次上限：30 轮" in text
    assert "质量" in text


SAID_TO_ALL = (
    "模板版本：v3.0",
    "合并去重 → 按优先级 → 依次执行",
    "以下由 heartbeat 执行，你不必重复",
    "立即执行",
    "涉及金钱或外部资源 → 暂停该任务",
    "添加评论 → 释放认领",
    "标注超时（可转为卡片）",
    "不认领，保持 todo",
    "通知依赖任务执行者",
    "第 3 次通知 Vincent 并标 blocked",
    "全任务源：WorkBoard + Multica + 待办文档",
    "心跳不打断对话",
    "非紧急事项延后汇报",
    "依赖未满足不启动",
    "达到轮次上限即暂停",
    "引用代替填塞",
    "分块读取",
    "清理过期信息",
    "相同查询合并",
    "知识缺口是否已上报，有无应写入的发现",
    "TODO.md、AGENTS.md",
)


@pytest.mark.parametrize("agent_id", TEAM)
def test_every_rule_that_all_files_share_is_in_each(agent_id: str) -> None:
    assert [rule for rule in SAID_TO_ALL if rule not in rendered(agent_id)] == []


@pytest.mark.parametrize("agent_id", TEAM)
def test_the_three_sources_come_in_their_order(agent_id: str) -> None:
    section = rendered(agent_id).split("## 三源检查", 1)[1].split("\n## ", 1)[0]
    assert re.findall(r"^\d\. (WorkBoard|Multica|待办文档)", section, re.MULTILINE) == [
        "WorkBoard",
        "Multica",
        "待办文档",
    ]


def test_only_the_watchers_patrol() -> None:
    assert [agent_id for agent_id in TEAM if "## 全平台积压巡检" in rendered(agent_id)] == ["coo", "secretary"]


@pytest.mark.parametrize("agent_id", TEAM)
def test_the_worklist_is_read_from_its_top_and_only_the_coo_decides_what_was_blocked(agent_id: str) -> None:
    text = rendered(agent_id)
    assert "先处理开头的「Messages」" in text
    assert ("再决定「Blocked by heartbeat」" in text) == (agent_id == "coo")
    assert ("评审不通过用 `reject`" in text) == (agent_id in ("coo", "secretary"))


@pytest.mark.parametrize("agent_id", TEAM)
def test_how_to_name_a_task_where_an_issue_goes_and_that_block_tells_nobody(agent_id: str) -> None:
    text = rendered(agent_id)
    assert "`任务` 写 key；用标题时放在单引号里" in text
    assert "- Multica（有卡片时跟随卡片回到 todo）：添加评论 → status=blocked" in text
    assert "（`block`，写明待 Vincent 决定；它不发通知）" in text


@pytest.mark.parametrize("agent_id", TEAM)
def test_the_file_is_under_5_KB_with_room_for_the_agents_own_notes(agent_id: str) -> None:
    assert len(rendered(agent_id).encode()) <= 4900
    command = command_line(Path("/" + "a" * 54 + ".yaml"))
    assert len(render_agent(sample(), sample().agents[agent_id], command=command).encode()) <= 4900


@pytest.mark.parametrize("agent_id", TEAM)
def test_no_shell_line_of_the_old_files_and_no_task_box_is_left(agent_id: str) -> None:
    text = rendered(agent_id)
    for remnant in ("python3", "2>/dev/null", "```", "openclaw workboard", "multica issue", "{{", "{%", "- [", "[ ]"):
        assert remnant not in text
    block = find_block(text)
    assert isinstance(block, Block)
    assert not block.edited
