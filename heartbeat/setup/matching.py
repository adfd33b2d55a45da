"""Who in Multica is who in OpenClaw: by equal names, and only where nobody else could be meant. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from heartbeat.setup.foreign import readings


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may come into the roster. `multica_id` is known for certain, from a file that names it, or empty."""

    id: str
    name: str = ""
    identity: str = ""
    multica_id: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """An agent of Multica: its UUID in lower case, and its name."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """An account that is somebody's, and how that is known, in words for a comment. `listed` says that it was among
    the accounts, and not only named by somebody."""

    account: Account
    why: str
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Doubt:
    """Somebody for whom only a person can say which account is theirs, if any of these."""

    person: Person
    candidates: tuple[Account, ...]


@dataclass(frozen=True, slots=True)
class Matching:
    """`matches` by the person's id. `strangers` are accounts of nobody, those in doubt left out. `alone` are people for
    whom no account has an equal name."""

    matches: Mapping[str, Match] = field(default_factory=dict)
    doubts: tuple[Doubt, ...] = ()
    strangers: tuple[Account, ...] = ()
    alone: tuple[Person, ...] = ()


def match(people: Sequence[Person], accounts: Iterable[Account]) -> Matching:
    """Pairs of equal names. Where two could be meant, on either side, nobody is: that is a doubt."""
    known = {account.id: account for account in accounts}
    matches: dict[str, Match] = {}
    for person in people:
        if person.multica_id:
            account = known.pop(person.multica_id, None)
            named = account or Account(person.multica_id)
            matches[person.id] = Match(named, "said in its own file", listed=account is not None)
    open_people = [person for person in people if not person.multica_id]
    names = {account.id: readings(account.name) for account in known.values()}
    candidates = {
        person.id: [account for account in known.values() if names[account.id] & set(_keys(person))]
        for person in open_people
    }
    claims: dict[str, int] = {}
    for mine in candidates.values():
        for account in mine:
            claims[account.id] = claims.get(account.id, 0) + 1
    doubts: list[Doubt] = []
    for person in open_people:
        mine = candidates[person.id]
        if len(mine) == 1 and claims[mine[0].id] == 1:
            why = next(why for key, why in _keys(person).items() if key in names[mine[0].id])
            matches[person.id] = Match(mine[0], why)
        elif mine:
            doubts.append(Doubt(person, tuple(mine)))
    taken = {matched.account.id for matched in matches.values()} | set(claims)
    return Matching(
        matches,
        tuple(doubts),
        tuple(account for account in known.values() if account.id not in taken),
        tuple(person for person in open_people if not candidates[person.id]),
    )


def settle(matching: Matching, answers: Mapping[str, Account | None], why: str = "chosen by hand") -> Matching:
    """The matching after a person was asked: an account, or nobody, by the person's id. What was not answered stays."""
    chosen = {name: account for name, account in answers.items() if account is not None}
    given = {account.id for account in chosen.values()}
    freed = [
        candidate
        for doubt in matching.doubts
        if doubt.person.id in answers
        for candidate in doubt.candidates
        if candidate.id not in given
    ]
    doubts = tuple(doubt for doubt in matching.doubts if doubt.person.id not in answers)
    still = {candidate.id for doubt in doubts for candidate in doubt.candidates}
    left = {account.id: account for account in (*matching.strangers, *freed) if account.id not in given | still}
    return Matching(
        {**matching.matches, **{name: Match(account, why) for name, account in chosen.items()}},
        doubts,
        tuple(left.values()),
        tuple(person for person in matching.alone if person.id not in chosen),
    )


def _keys(person: Person) -> dict[str, str]:
    """What somebody goes by, folded, and how an equal account is told; the surest first."""
    keys: dict[str, str] = {}
    for name, why in (
        (person.id, "its name in Multica is the id"),
        (person.name, "it has the same name in Multica"),
        (person.identity, "it has the same name in Multica"),
    ):
        for key in sorted(readings(name)):
            keys.setdefault(key, why)
    return keys
