"""Who in Multica is who in OpenClaw: only where nobody else could be meant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from heartbeat.setup.foreign import clean, fold
from heartbeat.setup.matching import Account, Match, Matching, Person, match, settle
from heartbeat.setup.proposal import propose
from tests.unit.test_rendered_facts import sample

A, B, C = (Account(f"0198f0a0-0000-7000-8000-00000000000{number}", name) for number, name in enumerate("ABC"))


def paired(people: list[Person], accounts: list[Account]) -> dict[str, str]:
    return {name: found.account.name for name, found in match(people, accounts).matches.items()}


def named(*names: str) -> list[Account]:
    return [Account(f"0198f0a0-0000-7000-8000-{number:012x}", name) for number, name in enumerate(names)]


def test_an_id_a_display_name_and_an_identity_are_equal_names() -> None:
    people = [Person("coo"), Person("a1", name="梁思筑"), Person("a2", identity="Samantha")]
    assert paired(people, named("COO", "梁思筑", "samantha")) == {"coo": "COO", "a1": "梁思筑", "a2": "samantha"}


def test_width_case_separators_and_a_name_in_brackets_make_no_difference() -> None:
    people = [Person("prompt-engineer"), Person("coo"), Person("x", name="陆云帆 (taobao)"), Person("y", name="ｓｕ")]
    accounts = named("Prompt Engineer", "陆怀瑾（COO）", "陆云帆", "Su")
    assert paired(people, accounts) == {
        "prompt-engineer": "Prompt Engineer",
        "coo": "陆怀瑾（COO）",
        "x": "陆云帆",
        "y": "Su",
    }


def test_two_namesakes_on_either_side_are_a_doubt_and_nobodys_match() -> None:
    found = match([Person("coo"), Person("x", name="Kim"), Person("y", name="Kim")], named("coo", "Coo", "kim", "Lee"))
    assert found.matches == {}
    assert [(doubt.person.id, [each.name for each in doubt.candidates]) for doubt in found.doubts] == [
        ("coo", ["coo", "Coo"]),
        ("x", ["kim"]),
        ("y", ["kim"]),
    ]
    assert [account.name for account in found.strangers] == ["Lee"]


def test_an_id_that_is_one_accounts_name_and_a_display_name_that_is_anothers_is_a_doubt() -> None:
    found = match([Person("coo", name="陆怀瑾")], named("coo", "陆怀瑾"))
    assert found.matches == {}
    assert len(found.doubts) == 1


def test_a_uuid_that_is_known_is_taken_and_never_given_to_a_namesake() -> None:
    people = [Person("a", multica_id=A.id), Person("A-namesake", name="A")]
    found = match(people, [A, B])
    assert found.matches == {"a": Match(A, "said in its own file")}
    assert found.strangers == (B,)
    unlisted = match([Person("a", multica_id=C.id)], [A]).matches["a"]
    assert (unlisted.account.id, unlisted.listed) == (C.id, False)


def test_an_answer_settles_a_doubt_and_frees_the_others() -> None:
    first, second = named("coo", "Coo")
    found = match([Person("coo"), Person("lone")], [first, second, C])
    settled = settle(found, {"coo": second})
    assert settled.matches["coo"].account is second
    assert settled.doubts == ()
    assert settled.strangers == (C, first)
    assert settle(found, {"coo": None}).strangers == (C, first, second)
    assert settle(found, {"lone": C}).alone == ()
    assert settle(found, {}) == found


def test_nobody_and_nothing_match() -> None:
    assert match([], []) == Matching()
    assert match([Person("a", name=" ", identity="")], named("", " ")).matches == {}


NAMES = st.text(alphabet="abAB-_ 陆ａ(（)）", max_size=5)


@given(st.lists(NAMES, max_size=6), st.lists(NAMES, max_size=6), st.randoms())
def test_matching_is_one_to_one_complete_and_the_same_in_any_order(
    ids: list[str], names: list[str], random: object
) -> None:
    people = [Person(f"p{number}", name=name) for number, name in enumerate(ids)]
    accounts = named(*names)
    found = match(people, accounts)
    taken = [each.account.id for each in found.matches.values()]
    assert len(taken) == len(set(taken))
    in_doubt = {account.id for doubt in found.doubts for account in doubt.candidates}
    everybody = {*taken, *in_doubt, *(account.id for account in found.strangers)}
    assert everybody == {account.id for account in accounts}
    assert {*found.matches, *(doubt.person.id for doubt in found.doubts), *(each.id for each in found.alone)} == {
        person.id for person in people
    }
    shuffled_people, shuffled_accounts = list(people), list(accounts)
    random.shuffle(shuffled_people)  # type: ignore[attr-defined]
    random.shuffle(shuffled_accounts)  # type: ignore[attr-defined]
    again = match(shuffled_people, shuffled_accounts)
    assert again.matches == found.matches
    assert set(again.strangers) == set(found.strangers)


@given(st.text())
def test_clean_text_is_one_printable_line_and_folding_is_stable(text: str) -> None:
    line = clean(text, 50)
    assert len(line) <= 50
    assert "\n" not in line
    assert all(character.isprintable() or character in "\u200c\u200d" for character in line)
    assert clean(line, 50) == line
    assert fold(fold(text)) == fold(text)


def test_the_classes_of_the_sample_team_are_those_that_their_ids_propose() -> None:
    assert {agent.id: propose([agent.id]).class_id for agent in sample().agents.values()} == {
        agent.id: agent.class_id for agent in sample().agents.values()
    }


def test_chinese_names_tell_a_class_too_and_a_name_that_tells_nothing_asks() -> None:
    assert propose(["a1", "运维工程师"]).class_id == "developer"
    assert propose(["a1", "董事长秘书"]).class_id == "high_frequency"
    assert propose(["a1", "法务顾问"]).class_id == "business"
    assert propose(["device-keeper"]).sure is False
    unknown = propose(["xiaoming", "小明"])
    assert (unknown.class_id, unknown.sure) == ("business", False)
