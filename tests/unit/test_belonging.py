"""Whose memory a state is: another team's beats are kept out, and every way to the same roster is at home."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.beat import tick
from heartbeat.belonging import adopt, settle_in, stranger
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


def test_the_first_roster_to_beat_is_at_home(store: MemoryStore, tmp_path: Path) -> None:
    own = roster(tmp_path / "agents.yaml")
    assert at_home(store, own)
    settle_in(store, own, NOW)
    known = store.belonging()
    assert known is not None
    assert (known.path, known.agents, known.since) == (str(own.path), ("coo", "dev"), NOW)


def test_another_team_is_refused_with_a_way_out(store: MemoryStore, tmp_path: Path) -> None:
    settle_in(store, roster(tmp_path / "a" / "agents.yaml"), NOW)
    store.add_receipt(receipt(1))
    other = roster(tmp_path / "b" / "agents.yaml", "coo")
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
    other = roster(tmp_path / "b" / "agents.yaml", "coo")
    before, cache = own.store.receipts(), SnapshotCache(tmp_path / "snapshots", read_only=True)
    for only_due in (False, True):
        with pytest.raises(StateError, match="memory of another roster"):
            tick(
                other,
                other.chosen(["coo"]),
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
    known = store.belonging()
    assert known is not None
    assert known.agents == ("writer",)


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


def test_a_roster_that_was_moved_or_renamed_and_changed_is_at_home(store: MemoryStore, tmp_path: Path) -> None:
    own = roster(tmp_path / "a" / "agents.yaml")
    settle_in(store, own, NOW)
    own.path.unlink()
    moved = roster(tmp_path / "b" / "team.yaml", "writer")
    settle_in(store, moved, NOW)
    known = store.belonging()
    assert known is not None
    assert known.path == str(moved.path)
    moved.path.unlink()
    moved.path.parent.rmdir()
    moved.path.parent.touch()
    assert at_home(store, roster(tmp_path / "c.yaml", "third")), "a file is where the directory was"


def test_a_copy_with_the_same_team_is_at_home(store: MemoryStore, tmp_path: Path) -> None:
    settle_in(store, roster(tmp_path / "releases" / "7" / "agents.yaml"), NOW)
    settle_in(store, roster(tmp_path / "releases" / "8" / "agents.yaml"), NOW)
    assert not at_home(store, roster(tmp_path / "releases" / "9" / "agents.yaml", "coo"))


def test_who_is_adopted_is_at_home_and_the_one_before_is_not(store: MemoryStore, tmp_path: Path) -> None:
    own, other = roster(tmp_path / "a.yaml"), roster(tmp_path / "b.yaml", "coo")
    assert adopt(store, own, NOW) is None
    before = adopt(store, other, NOW)
    assert before is not None
    assert before.path == str(own.path)
    assert at_home(store, other)
    assert not at_home(store, own)
    assert [entry.action for entry in store.log()] == ["state-adopted"]
    assert adopt(store, other, NOW) is None
