"""Who comes into a new roster, who is left out, and what differs from the class."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from heartbeat.setup.begin import Answers, nothing_found, origins, prospect, team_of, tried
from heartbeat.setup.discover import MULTICA, OPENCLAW, Found, Look, nobody_asked
from heartbeat.setup.drafts import Draft, Team
from heartbeat.setup.identity import Note
from heartbeat.setup.interview import interview
from heartbeat.setup.legacy import HandWritten, parse
from heartbeat.setup.matching import Account
from heartbeat.setup.scheduling import Coverage, coverage
from heartbeat.systems.base import Attempt, FailureKind
from heartbeat.systems.multica.agents import MulticaAgent
from heartbeat.systems.openclaw.agents import OpenClawAgent
from tests.support.hand_written import CREW, write

FILES = tuple(file for sheet in CREW for file in parse(f"{sheet.id}.md", write(sheet))[0])


def uuid(number: int) -> str:
    return f"0198f0a0-3333-7000-8000-{number:012d}"


def found(*agents: OpenClawAgent, multica: tuple[MulticaAgent, ...] = (), remote: bool = False) -> Found:
    mine = Look(OPENCLAW, agents, "gateway" if agents else None, remote=remote)
    return Found(mine, Look(MULTICA, multica, "api" if multica else None))


def team(seen: Found, files: tuple[HandWritten, ...] = (), answers: Answers = Answers()) -> Team:  # noqa: B008 - frozen
    return team_of(prospect(seen, files), answers, seen, operator="Vincent")


def one(seen: Found, files: tuple[HandWritten, ...] = ()) -> Draft:
    (draft,) = team(seen, files).drafts
    return draft


def file_of(agent: str, **changes: object) -> HandWritten:
    return replace(next(file for file in FILES if file.id == agent), **changes)  # type: ignore[arg-type]


def test_main_is_left_out_unless_it_is_alone_or_has_a_file() -> None:
    main, coo = OpenClawAgent("main", workspace="/m"), OpenClawAgent("coo")
    both = team(found(main, coo))
    assert [draft.id for draft in both.drafts] == ["coo"]
    assert [(each.id, each.workspace) for each in both.left_out] == [("main", "/m")]
    assert one(found(main)).id == "main"
    with_file = team(found(main, coo), (file_of("broker", id="main"),))
    assert sorted(draft.id for draft in with_file.drafts) == ["coo", "main"]


def test_ids_that_a_roster_cannot_have_are_told() -> None:
    seen = team(found(OpenClawAgent("X Y"), OpenClawAgent("self"), OpenClawAgent("coo")))
    assert [draft.id for draft in seen.drafts] == ["coo"]
    assert ["X Y" in each.why or "'self'" in each.why for each in seen.left_out] == [True, True]


def test_a_name_that_is_the_id_is_no_name_and_the_files_name_is_the_surest() -> None:
    assert one(found(OpenClawAgent("coo", "COO", "Lu"))).name == "Lu"
    assert one(found(OpenClawAgent("broker", "Broker Bot")), (file_of("broker"),)).name == "易安"


def test_what_openclaw_and_multica_do_not_know_is_said_beside_the_agent() -> None:
    seen = found(OpenClawAgent("coo"), multica=(MulticaAgent(uuid(1), "else"),))
    notes = {draft.id: draft.notes for draft in team(seen, (file_of("broker"),)).drafts}
    assert notes["coo"] == ("Multica has no agent of this name.",)
    assert notes["broker"] == ("OpenClaw has no agent of this id.", "Multica has no agent of this UUID, or hides it.")


def test_a_doubt_is_left_open_with_its_candidates_in_comments() -> None:
    seen = found(OpenClawAgent("coo"), multica=(MulticaAgent(uuid(1), "coo"), MulticaAgent(uuid(2), "COO")))
    draft = one(seen)
    assert draft.multica_id == ""
    assert draft.notes == (
        "Which agent of Multica is it, if any?",
        f"multica_id: {uuid(1)}  # coo",
        f"multica_id: {uuid(2)}  # COO",
    )
    chosen = team(seen, answers=Answers(accounts={"coo": Account(uuid(2), "COO")}))
    assert (chosen.drafts[0].multica_id, chosen.drafts[0].why_multica) == (uuid(2), "chosen by hand")


def test_agents_of_multica_alone_are_the_team_where_openclaw_has_nobody() -> None:
    seen = found(multica=(MulticaAgent(uuid(1), "Codex"), MulticaAgent(uuid(2), "codex"), MulticaAgent(uuid(3), "甲")))
    made = team(seen)
    assert [(draft.id, draft.multica_id) for draft in made.drafts] == [("codex", uuid(1))]
    assert {each.multica_id for each in made.left_out} == {uuid(2), uuid(3)}


def test_the_second_file_of_an_agent_is_compared_with_the_first_and_told() -> None:
    first = file_of("broker", path="a.md")
    other = replace(first, path="b.md", said={**first.said, "every": timedelta(minutes=5)}, name="别名", checks=())
    made = team(nobody_asked(), (first, other))
    assert made.drafts[0].settings == {}
    line = first.lines["every"]
    assert made.notes == (
        "b.md:1: a second file of broker; a.md:1 counts",
        f"b.md:{line}: every 5m here, 15m on line {line} there, which counts",
        "b.md:1: name 别名 here, 易安 there",
        "b.md:1: checks [] here, [报价, 合同到期] there",
    )


def test_what_the_second_file_of_an_agent_notes_and_checks_is_told_too() -> None:
    first = file_of("broker", path="a.md")
    other = replace(first, path="b.md", notes=(Note(9, "8 台"),), checks=(*first.checks, "备份 30 份"))
    made = team(nobody_asked(), (first, other))
    assert made.notes == (
        "b.md:1: a second file of broker; a.md:1 counts",
        "b.md:1: the check '备份 30 份' is not in a.md:1, and left out",
        "b.md:9: 8 台",
    )


def test_L0_who_patrols_by_its_id_does_so_whatever_its_file_says() -> None:
    (draft,) = team(nobody_asked(), (file_of("coo", patrol=False, checks=()),)).drafts
    assert draft.patrol
    (other,) = team(nobody_asked(), (file_of("broker", patrol=False),)).drafts
    assert not other.patrol


def test_two_agents_never_share_a_uuid() -> None:
    copied = file_of("cook", multica_id=file_of("broker").multica_id, path="cook.md")
    made = team(nobody_asked(), (file_of("broker"), copied))
    assert {draft.id: bool(draft.multica_id) for draft in made.drafts} == {"broker": True, "cook": False}
    assert "is broker's already" in made.notes[0]


def test_recovering_never_comes_before_suspecting() -> None:
    said = {**file_of("broker").said, "suspect_after": timedelta(minutes=60)}
    made = team(nobody_asked(), (file_of("broker", said=said),))
    settings = made.drafts[0].settings
    assert settings["recover_after"].value == settings["suspect_after"].value == timedelta(minutes=60)
    assert "recover_after 45m would come before suspect_after 1h; made 1h" in made.notes[0]


@pytest.mark.parametrize(
    ("told", "heard", "noted"),
    [
        (("coo",), ("operator",), False),
        (("Vincent",), ("operator",), False),
        (("vincent", "creator"), ("operator", "creator"), False),
        (("石砚",), ("dock-engineer",), False),
        (("dock-engineer",), ("dock-engineer",), False),
        (("张三", "creator"), None, True),
        (("张三",), None, True),
    ],
)
def test_who_is_told_becomes_a_target_that_the_roster_knows(
    told: tuple[str, ...], heard: tuple[str, ...] | None, noted: bool
) -> None:
    broker = file_of("broker", said={**file_of("broker").said, "notify": told})
    made = team(nobody_asked(), (broker, file_of("dock-engineer")))
    draft = next(draft for draft in made.drafts if draft.id == "broker")
    assert (draft.settings["notify"].value if heard else draft.settings.get("notify")) == heard
    assert any("nobody here is called '张三'" in note for note in made.notes) is noted


def test_workspaces_of_another_machine_are_only_told() -> None:
    draft = one(found(OpenClawAgent("coo", workspace="/far/coo"), remote=True))
    assert draft.workspace == ""
    assert "On the Gateway's machine: /far/coo" in draft.notes


def test_the_team_comes_class_by_class() -> None:
    order = [draft.class_id for draft in team(nobody_asked(), tuple(reversed(FILES))).drafts]
    assert order == sorted(order, key=["high_frequency", "developer", "business"].index)


def test_nothing_found_names_every_way_that_was_tried_and_what_to_do() -> None:
    tried_ways = (
        Attempt("gateway", FailureKind.UNREACHABLE, "nothing answers", "start the Gateway"),
        Attempt("cli", FailureKind.NOT_CONFIGURED, "no program openclaw"),
    )
    error = nothing_found(Found(Look(OPENCLAW, tried=tried_ways), Look(MULTICA)))
    assert str(error).splitlines()[1:3] == ["OpenClaw: gateway: nothing answers", "OpenClaw: cli: no program openclaw"]
    assert "start the Gateway" in error.advice
    assert "--empty" in error.advice


def test_what_a_look_came_to_is_told_with_the_ways_that_failed_before() -> None:
    ways = (Attempt("gateway", FailureKind.TIMEOUT, "too slow"), Attempt("cli", None, ""))
    look = Look(OPENCLAW, (OpenClawAgent("coo"),), "cli", ways, ("an odd entry",))
    assert tried(look) == ("1 agent, by cli", "gateway did not work: too slow", "an odd entry")
    assert origins(Found(look, Look(MULTICA)), FILES[:2], "old") == ("OpenClaw (by cli), 2 hand-written files in old",)
    assert origins(nobody_asked(), (), "") == ()


# Questions


class Person:
    """Gives the answers that it was told to give, the usual one where it has none."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.heard: list[str] = []

    def ask(self, question: str, usual: str) -> str:
        self.asked.append(question)
        queue = next((queue for word, queue in self.answers.items() if word in question and queue), None)
        return queue.pop(0) if queue else usual


SEEN = found(
    OpenClawAgent("coo"),
    OpenClawAgent("xiaoming", "小明"),
    OpenClawAgent("dev"),
    multica=(MulticaAgent(uuid(1), "coo"), MulticaAgent(uuid(2), "COO"), MulticaAgent(uuid(3), "Codex")),
)


def test_only_what_is_not_known_is_asked_and_wrong_answers_are_asked_again() -> None:
    person = Person(
        charge=["许"], zone=["Mars/Base", "Asia/Shanghai"], Class=["boss", "dev"], number=["9", "x", "2", "1"]
    )
    replies = interview(prospect(SEEN), "root", "UTC", person.ask, person.heard.append)
    assert (replies.operator, replies.timezone) == ("许", "Asia/Shanghai")
    assert replies.answers.classes == {"xiaoming": "developer"}
    assert {name: each and each.id for name, each in replies.answers.accounts.items()} == {
        "coo": uuid(2),
        "xiaoming": uuid(3),
        "dev": None,
    }
    assert sum("zone" in question for question in person.asked) == 2
    assert any("Mars/Base" in line for line in person.heard)
    made = {draft.id: draft for draft in team(SEEN, answers=replies.answers).drafts}
    assert (made["xiaoming"].class_id, made["xiaoming"].why) == ("developer", "chosen by hand")
    assert (made["coo"].multica_id, made["xiaoming"].multica_id, made["dev"].multica_id) == (uuid(2), uuid(3), "")


def test_pressing_enter_all_the_way_gives_what_nobody_being_asked_gives() -> None:
    person = Person()
    replies = interview(prospect(SEEN), "root", "UTC", person.ask, person.heard.append)
    asked = {draft.id: (draft.class_id, draft.multica_id) for draft in team(SEEN, answers=replies.answers).drafts}
    alone = {draft.id: (draft.class_id, draft.multica_id) for draft in team(SEEN).drafts}
    assert asked == alone


def test_where_everything_is_known_two_questions_are_asked() -> None:
    person = Person()
    interview(prospect(found(OpenClawAgent("coo"))), "v", "UTC", person.ask, person.heard.append)
    assert len(person.asked) == 2


# Schedules


def test_a_schedule_for_everybody_covers_new_agents_and_one_with_names_does_not() -> None:
    from heartbeat.install.base import Style
    from heartbeat.install.install import Installed
    from heartbeat.install.standing import Standing

    class Target:
        def __init__(self, name: str) -> None:
            self.name = name

    def installed(name: str, style: Style | None, *agents: str, problem: str = "", absent: bool = False) -> Installed:
        return Installed(Target(name), (), Standing(style, agents), problem, absent)  # type: ignore[arg-type]

    seen = [
        installed("crontab", Style.DUE),
        installed("crontab", Style.DUE, "coo"),
        installed("systemd-user", Style.EACH),
        installed("systemd-system", Style.DAEMON),
        installed("openclaw", None, problem="refused"),
        installed("openclaw", None, problem="not here", absent=True),
        installed("openclaw", None),
    ]
    assert coverage(seen, ["qa", "ux"]) == (
        Coverage("crontab"),
        Coverage("crontab", ("cron", "install", "qa", "ux", "--target", "crontab")),
        Coverage("systemd-user", ("cron", "install", "--target", "systemd", "--user")),
        Coverage("systemd-system"),
        Coverage("openclaw", problem="refused"),
    )
