"""When a roster on the disk is read anew, and what it changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.daemon.roster_file import SETTLES, RosterFile, chosen, differences, signature_of
from heartbeat.errors import UsageError
from heartbeat.roster.model import Roster
from tests.support.rosters import make_agent, make_coo, make_roster

ONE, OTHER, THIRD = (1, 2, 3, 4), (1, 2, 9, 4), (1, 2, 10, 4)
MINUTE = timedelta(minutes=1)


def test_a_file_that_stays_as_it_is_is_not_read_again() -> None:
    file = RosterFile.read(ONE).looked_at(ONE, 10.0)
    assert file.settles_in(10.0) is None


def test_a_changed_file_is_read_once_it_has_not_changed_for_a_while() -> None:
    file = RosterFile.read(ONE).looked_at(OTHER, 10.0)
    assert file.settles_in(10.0) == SETTLES
    file = file.looked_at(THIRD, 11.0)
    assert file.settles_in(11.5) == SETTLES - 0.5
    file = file.looked_at(THIRD, 11.0 + SETTLES)
    assert file.settles_in(11.0 + SETTLES) == 0
    assert RosterFile.read(THIRD).settles_in(20.0) is None


def test_a_file_that_is_put_back_as_it_was_needs_no_reading() -> None:
    file = RosterFile.read(ONE).looked_at(OTHER, 10.0).looked_at(ONE, 10.5)
    assert file.settles_in(20.0) is None


def test_a_file_that_is_gone_is_tried_once_and_again_when_it_is_back() -> None:
    file = RosterFile.read(ONE).looked_at(None, 10.0)
    assert file.settles_in(12.0) == 0
    file = RosterFile.read(None)
    assert file.looked_at(None, 50.0).settles_in(60.0) is None
    assert file.looked_at(ONE, 50.0).settles_in(52.0) == 0


def test_a_signature_tells_every_way_of_writing_a_file(tmp_path: Path) -> None:
    path, link = tmp_path / "agents.yaml", tmp_path / "link.yaml"
    assert signature_of(path) is None
    path.write_text("one")
    link.symlink_to(path)
    first = signature_of(path)
    assert first == signature_of(path) == signature_of(link)
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").replace(path)
    second = signature_of(path)
    assert second != first
    path.write_text("three")
    assert signature_of(path) != second
    (tmp_path / "release").write_text("three")
    link.unlink()
    link.symlink_to(tmp_path / "release")
    assert signature_of(link) != signature_of(path)


def test_the_named_agents_that_are_left_go_on_and_none_is_too_few() -> None:
    roster = make_roster(make_coo(), make_agent("writer"))
    assert [agent.id for agent in chosen(roster, ())] == ["coo", "writer"]
    assert [agent.id for agent in chosen(roster, ("writer", "gone"))] == ["writer"]
    with pytest.raises(UsageError, match="none of gone, lost is in it") as refused:
        chosen(roster, ("gone", "lost"))
    assert "coo, writer" in refused.value.advice


def told(before: Roster, after: Roster) -> list[str]:
    return list(differences(before, after, tuple(before.agents.values()), tuple(after.agents.values())))


def test_a_reload_says_what_changes() -> None:
    coo, writer, new = make_coo(), make_agent("writer"), make_agent("new")
    before = make_roster(coo, writer)
    assert told(before, before) == []
    assert told(before, make_roster(coo, writer)) == []
    assert told(before, make_roster(coo, new)) == ["added: new", "removed: writer"]
    assert told(before, make_roster(writer, coo)) == []
    slower = replace(writer, policy=replace(writer.policy, every=20 * MINUTE, anchor=MINUTE))
    assert told(before, make_roster(coo, slower)) == ["writer every 20m instead of every 15m"]
    by_cron = replace(writer, policy=replace(writer.policy, cron="0 * * * *"))
    assert told(before, make_roster(coo, by_cron)) == ["writer cron '0 * * * *' instead of every 15m"]
    assert told(before, make_roster(coo, writer, timezone="UTC")) == ["time zone: UTC instead of Asia/Shanghai"]
    assert told(before, make_roster(coo, replace(writer, backup="coo"))) == ["other settings"]
    assert told(before, make_roster(coo, writer, sources={"todo": {}})) == ["other settings"]
    assert told(before, make_roster(new, slower, timezone="UTC", sources={})) == [
        "added: new",
        "removed: coo",
        "writer every 20m instead of every 15m",
        "time zone: UTC instead of Asia/Shanghai",
        "other settings",
    ]


def test_what_changes_for_others_is_no_news_for_a_daemon_with_named_agents() -> None:
    coo, writer, new = make_coo(), make_agent("writer"), make_agent("new")
    before, after = make_roster(coo, writer), make_roster(coo, new)
    assert list(differences(before, after, (coo,), (coo,))) == []
