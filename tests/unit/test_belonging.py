"""Whose memory a state is: another team's beats are kept out, and every way to the same roster is at home."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.beat import tick
from heartbeat.belonging import LATELY, adopt, doubt, settle_in, stranger
from heartbeat.deadline import Deadline
from heartbeat.errors import StateError
from heartbeat.roster.model import Roster
from heartbeat.store.memory import MemoryStore
from heartbeat.systems.snapshot import SnapshotCache
from tests.support.items import NOW
from tests.support.receipts import receipt
from tests.support.rosters import make_agent, make_roster
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld
from tests.support.team import Team

MINUTE = timedelta(minutes=1)


def roster(path: Path, *names: str) -> Roster:
    """A roster, whose file is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return make_roster(*map(make_agent, names or ("coo", "dev")), path=path)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def at_home(store: MemoryStore, other: Roster) -> bool:
    return stranger(store, other, NOW) is None


def known(store: MemoryStore) -> tuple[Path, tuple[str, ...]]:
    found = store.belonging()
    assert found is not None
    return Path(found.path), found.agents


def test_the_first_roster_to_beat_is_at_home(store: MemoryStore, tmp_path: Path) -> None:
    own = roster(tmp_path / "agents.yaml")
    assert at_home(store, own)
    settle_in(store, own, NOW)
    assert known(store) == (own.path, ("coo", "dev"))


def test_another_team_is_refused_with_a_way_out(store: MemoryStore, tmp_path: Path) -> None:
    settle_in(store, roster(tmp_path / "a" / "agents.yaml"), NOW)
    store.add_receipt(receipt(1))
    other = roster(tmp_path / "b" / "agents.yaml", "boss")
    with pytest.raises(StateError) as refused:
        settle_in(store, other, NOW + 4 * MINUTE)
    assert str(refused.value) == (
        f"{other.path}: this state is the memory of another roster, {tmp_path / 'a' / 'agents.yaml'} (2 agents, its "
        "last beat 3m ago), and two teams in one memory undo each other's work"
    )
    assert "`state:`" in refused.value.advice
    assert "`heartbeat doctor --adopt`" in refused.value.advice


def test_the_beat_of_another_team_touches_nothing(tmp_path: Path) -> None:
    own = Team(ScriptedWorld(ScriptedSystem(name="workboard")), tmp_path / "a", (make_agent("coo"), make_agent("dev")))
    own.roster.path.parent.mkdir()
    own.roster.path.touch()
    own.tick()
    other = roster(tmp_path / "b" / "agents.yaml", "boss")
    before, cache = own.store.receipts(), SnapshotCache(tmp_path / "snapshots", read_only=True)
    for only_due in (False, True):
        with pytest.raises(StateError, match="memory of another roster"):
            tick(
                other,
                other.chosen(["boss"]),
                {},
                own.store,
                cache,
                tmp_path / "a",
                clock=lambda: NOW + 60 * MINUTE,
                only_due=only_due,
                peers=own.peers,
                deadline=Deadline.after(60),
            )
    assert own.store.receipts() == before


def test_agents_come_and_go_in_a_roster_that_stays(store: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "agents.yaml"
    settle_in(store, roster(path), NOW)
    settle_in(store, roster(path, "writer"), NOW)
    assert known(store) == (path, ("writer",))


def test_a_release_behind_a_link_is_at_home(store: MemoryStore, tmp_path: Path) -> None:
    for number, names in enumerate((("coo",), ("coo", "dev"), ("writer",))):
        release = roster(tmp_path / "releases" / str(number) / "agents.yaml", *names)
        (tmp_path / "current").unlink(missing_ok=True)
        (tmp_path / "current").symlink_to(release.path.parent)
        settle_in(store, roster(tmp_path / "current" / "agents.yaml", *names), NOW)


def test_several_paths_of_one_file_are_one_roster(store: MemoryStore, tmp_path: Path) -> None:
    own = roster(tmp_path / "agents.yaml")
    settle_in(store, own, NOW)
    (tmp_path / "hard.yaml").hardlink_to(own.path)
    (tmp_path / "soft.yaml").symlink_to(own.path)
    for name in ("hard.yaml", "soft.yaml", "../" + tmp_path.name + "/agents.yaml"):
        settle_in(store, roster(tmp_path / name, "coo", "dev", "new"), NOW)
        assert at_home(store, roster(own.path))


@pytest.mark.parametrize("by_hand", [False, True])
def test_three_releases_behind_a_link_are_at_home_though_beats_by_hand_name_the_release(
    store: MemoryStore, tmp_path: Path, by_hand: bool
) -> None:
    current = tmp_path / "current"
    teams = (("coo", "dev"), ("coo", "dev", "writer"), ("coo", "dev", "writer", "tester"))
    for number, names in enumerate(teams):
        release = roster(tmp_path / "releases" / str(number) / "agents.yaml", *names)
        current.unlink(missing_ok=True)
        current.symlink_to(release.path.parent)
        scheduled = roster(current / "agents.yaml", *names)
        for each in (release, scheduled) if by_hand else (scheduled, release):
            settle_in(store, each, NOW)
    assert known(store)[0] == (tmp_path / "releases" / "0" / "agents.yaml" if by_hand else current / "agents.yaml")


def test_a_copy_that_beats_once_by_hand_takes_nobodys_place(store: MemoryStore, tmp_path: Path) -> None:
    own, copy = tmp_path / "agents.yaml", tmp_path / "copy.yaml"
    settle_in(store, roster(own), NOW)
    settle_in(store, roster(copy), NOW)
    assert known(store)[0] == own
    settle_in(store, roster(own, "coo", "dev", "writer"), NOW)
    settle_in(store, roster(copy), NOW)
    assert known(store) == (own, ("coo", "dev", "writer")), "a copy says nothing of the team"


def test_a_copy_cannot_lead_the_team_away_from_its_roster_step_by_step(store: MemoryStore, tmp_path: Path) -> None:
    settle_in(store, roster(tmp_path / "agents.yaml", "a", "b"), NOW)
    settle_in(store, roster(tmp_path / "copy.yaml", "b", "c"), NOW)
    assert not at_home(store, roster(tmp_path / "copy.yaml", "c", "d"))
    settle_in(store, roster(tmp_path / "agents.yaml", "a", "b"), NOW)


@pytest.mark.parametrize(
    ("names", "home"),
    [
        (("a",), True),
        (("a", "b", "c", "d", "e", "f", "g"), True),
        (("a", "x"), True),
        (("a", "b", "x", "y"), True),
        (("a", "x", "y"), False),
        (("a", "x", "y", "z"), False),
        (("x",), False),
    ],
)
def test_half_of_the_smaller_team_in_common_is_at_home(
    store: MemoryStore, tmp_path: Path, names: tuple[str, ...], home: bool
) -> None:
    settle_in(store, roster(tmp_path / "agents.yaml", "a", "b", "c", "d"), NOW)
    assert at_home(store, roster(tmp_path / "workspace" / "agents.yaml", *names)) is home


def test_two_teams_that_shared_a_state_before_it_was_kept_whose_it_is_beat_on(
    store: MemoryStore, tmp_path: Path
) -> None:
    for number, agent in enumerate(("coo", "dev", "guest")):
        store.add_receipt(receipt(number, agent=agent))
    both = roster(tmp_path / "a.yaml", "coo", "dev"), roster(tmp_path / "b.yaml", "guest")
    for each in (*both, *both):
        settle_in(store, each, NOW)
        assert at_home(store, each)
    assert store.belonging() is None
    told = doubt(store, both[1], NOW)
    assert told is not None
    assert str(told) == (
        f"{both[1].path}: coo, dev beat in this state too, and are not in this roster: two teams in one memory undo "
        "each other's work"
    )
    assert doubt(store, both[0], NOW) is None, "who has left since looks the same, and is no matter"
    settle_in(store, both[0], NOW + LATELY * 2)
    assert known(store)[0] == both[0].path


def test_two_teams_of_one_each_are_both_told(store: MemoryStore, tmp_path: Path) -> None:
    store.add_receipt(receipt(1, agent="coo"))
    store.add_receipt(receipt(2, agent="dev"))
    for name in ("coo", "dev"):
        own = roster(tmp_path / f"{name}.yaml", name)
        settle_in(store, own, NOW)
        assert doubt(store, own, NOW) is not None
    adopt(store, own, NOW)
    assert doubt(store, own, NOW) is None


def test_a_team_alone_in_the_state_of_an_older_heartbeat_is_at_home(store: MemoryStore, tmp_path: Path) -> None:
    store.add_receipt(receipt(1, agent="coo"))
    own = roster(tmp_path / "agents.yaml")
    assert doubt(store, own, NOW) is None
    settle_in(store, own, NOW)
    assert known(store)[0] == own.path


def test_a_roster_that_was_moved_or_renamed_and_changed_is_at_home(store: MemoryStore, tmp_path: Path) -> None:
    own = roster(tmp_path / "a" / "agents.yaml")
    settle_in(store, own, NOW)
    own.path.unlink()
    moved = roster(tmp_path / "b" / "team.yaml", "dev", "writer")
    settle_in(store, moved, NOW)
    assert known(store) == (moved.path, ("dev", "writer"))
    moved.path.unlink()
    moved.path.parent.rmdir()
    moved.path.parent.touch()
    settle_in(store, roster(tmp_path / "c.yaml", "writer", "third"), NOW)
    assert known(store)[0] == tmp_path / "c.yaml", "a file is where the directory was"
    (tmp_path / "c.yaml").unlink()
    assert not at_home(store, roster(tmp_path / "d.yaml", "fourth")), "nobody of this team is known"


def test_a_copy_with_the_same_team_is_at_home(store: MemoryStore, tmp_path: Path) -> None:
    settle_in(store, roster(tmp_path / "releases" / "7" / "agents.yaml"), NOW)
    settle_in(store, roster(tmp_path / "releases" / "8" / "agents.yaml"), NOW)
    assert not at_home(store, roster(tmp_path / "releases" / "9" / "agents.yaml", "boss"))


def test_who_is_adopted_is_at_home_and_the_one_before_is_not(store: MemoryStore, tmp_path: Path) -> None:
    own, other = roster(tmp_path / "a.yaml"), roster(tmp_path / "b.yaml", "boss")
    assert adopt(store, own, NOW) is None
    before = adopt(store, other, NOW)
    assert before is not None
    assert before.path == str(own.path)
    assert at_home(store, other)
    assert not at_home(store, own)
    assert [entry.action for entry in store.log()] == ["state-adopted"]
    assert adopt(store, other, NOW) is None
