"""What is true of every health and every watchdog, whatever beats come and whatever the clock does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat.notify.letter import clean
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.slots import current_slot, next_slot
from heartbeat.watch.delivery import letter_of
from heartbeat.watch.flips import BEATS, Flip, agent_key, turn
from heartbeat.watch.health import BAD, GOOD, Expected, Record, Status, health
from heartbeat.watch.judgement import Scene, judged
from heartbeat.watch.notebook import POSTS, Notebook, Post, Seen, with_post
from heartbeat.watch.records import Records
from tests.support.rosters import make_roster
from tests.support.watching import BEGIN, GRACE, MINUTE, member, receipt

ORDER = [{Status.UP, Status.DEGRADED}, {Status.LATE, Status.NEW}, {Status.FAILING}, {Status.DOWN}]
"""Without a new fact time only leads further down this list."""

OUTCOMES = st.lists(st.sampled_from(["done", "degraded", "failed", "skipped"]), max_size=4)
RHYTHMS = st.one_of(
    st.integers(min_value=1, max_value=90).map(lambda minutes: member("coo", minutes * MINUTE)),
    st.sampled_from(["*/10 9-17 * * 1-5", "0 9 * * *", "*/5 * * * *", "30 2 * * 0"]).map(
        lambda cron: member("coo", cron=cron)
    ),
)
SHIFTS = st.lists(st.integers(min_value=0, max_value=60 * 24 * 8), min_size=2, max_size=12).map(sorted)


@settings(deadline=None)
@given(agent=RHYTHMS, outcomes=OUTCOMES, since=st.booleans(), running=st.booleans(), minutes=SHIFTS)
def test_a_status_changes_for_the_worse_only_while_no_new_fact_comes(
    agent: Agent, outcomes: list[str], since: bool, running: bool, minutes: list[int]
) -> None:
    beats = tuple(
        receipt(agent, BEGIN - number * timedelta(hours=1), outcome=outcome, degraded=outcome in ("degraded", "failed"))
        for number, outcome in enumerate(outcomes)
    )
    expected = Expected("coo", agent.policy, "America/New_York", GRACE, BEGIN if since else None)
    record = Record(beats, BEGIN + 3 * MINUTE if running else None)
    places = []
    for minute in minutes:
        found = health(expected, record, BEGIN + minute * MINUTE)
        places.append(next(place for place, group in enumerate(ORDER) if found.status in group))
        if found.status is Status.DOWN:
            assert found.expected_by is not None
            assert found.expected_by <= found.at
        elif found.expected_by is not None:
            assert found.at < found.expected_by
    assert places == sorted(places)


@settings(deadline=None)
@given(agent=RHYTHMS, ahead=st.integers(min_value=-20_000, max_value=20_000), outcomes=OUTCOMES)
def test_health_is_total_whatever_the_clock_says(agent: Agent, ahead: int, outcomes: list[str]) -> None:
    beats = tuple(
        receipt(agent, BEGIN + (ahead - number) * MINUTE, outcome=outcome) for number, outcome in enumerate(outcomes)
    )
    found = health(Expected("coo", agent.policy, "Asia/Shanghai", GRACE), Record(beats), BEGIN)
    assert found.status in Status
    assert found.missing is None or found.missing >= timedelta(0)


class Play:
    """Looks of a watchdog, a minute apart, at beats that come or do not; nothing is read or written."""

    def __init__(self, agents: Sequence[Agent]) -> None:
        self.roster: Roster = make_roster(*agents, timezone="UTC", extra={"watchdog": {"grace": GRACE}})
        self.beats: dict[str, list[datetime]] = {agent.id: [BEGIN] for agent in agents}
        self.book = Notebook(state="/state", seen={agent.id: Seen(BEGIN, "") for agent in agents})
        self.flips: list[tuple[datetime, Flip]] = []

    def look(self, now: datetime) -> None:
        records = Records(now, Path("/state"), exists=True, agents=dict(self._records(now)))
        healths = tuple(
            health(Expected(agent.id, agent.policy, "UTC", GRACE), records.record(agent.id), now)
            for agent in self.roster.agents.values()
        )
        scene = Scene(now, self.roster, "", records, healths)
        seen = dict(self.book.seen)
        troubles, well, unknown = judged(scene, seen, self.book)
        if BEATS in well and BEATS in self.book.alarms.standing:
            seen = {agent: Seen(now, "") for agent in seen}
            troubles, well, unknown = judged(scene, seen, self.book)
        alarms, flips = turn(self.book.alarms, troubles, well, unknown, now, GRACE)
        self.book = Notebook(state="/state", beaten=True, seen=seen, alarms=alarms)
        self.flips += [(now, flip) for flip in flips]

    def told(self, agent: str) -> bool:
        """Whether people know by now that this agent does not beat."""
        return bool({agent_key(agent), BEATS} & self.book.alarms.standing.keys())

    def _records(self, now: datetime) -> Iterator[tuple[str, Record]]:
        for agent in self.roster.agents.values():
            newest = [receipt(agent, at, id=f"{agent.id} {at}") for at in reversed(self.beats[agent.id][-3:])]
            yield agent.id, Record(tuple(newest))


TEAMS = st.lists(
    st.tuples(st.integers(min_value=6, max_value=25), st.lists(st.booleans(), min_size=30, max_size=30)),
    min_size=1,
    max_size=4,
)
"""How often each agent beats, in minutes, and which of its slots it answers."""


@settings(deadline=None, max_examples=60)
@given(TEAMS)
def test_every_beat_that_is_missing_for_longer_than_its_grace_is_told_in_time_and_once(
    team: list[tuple[int, list[bool]]],
) -> None:
    agents = [member(f"a{number}", every * MINUTE) for number, (every, _) in enumerate(team)]
    play = Play(agents)
    answers = {agent.id: iter(answered) for agent, (_, answered) in zip(agents, team, strict=True)}
    waiting: dict[str, datetime] = {}
    now = BEGIN
    for _ in range(150):
        before, now = now, now + MINUTE
        for agent in agents:
            if current_slot(agent.policy, "UTC", now) > before:
                if next(answers[agent.id], True):
                    play.beats[agent.id].append(now)
                    waiting.pop(agent.id, None)
                else:
                    waiting.setdefault(agent.id, current_slot(agent.policy, "UTC", now))
        play.look(now)
        for name, slot in waiting.items():
            own = play.roster.agents[name].policy.every
            # Whoever stays away when the others are back has until its own next slot.
            if now >= slot + own + GRACE + MINUTE and len(agents) == 1:
                assert play.told(name)
            if now >= slot + 2 * own + GRACE + MINUTE:
                assert play.told(name) or _just_back(play, now, own)
        assert all(play.told(agent.id) is False for agent in agents if agent.id not in waiting) or _others(
            play, waiting
        )
    _alternate(play.flips)


def _just_back(play: Play, now: datetime, every: timedelta) -> bool:
    """Whether a silence of all has ended less than an interval and grace ago."""
    ends = [at for at, flip in play.flips if flip.key == BEATS and flip.new is None]
    return bool(ends) and now - ends[-1] <= every + GRACE + MINUTE


def _others(play: Play, waiting: dict[str, datetime]) -> bool:
    """Whether an alarm stands for those only who do not beat."""
    standing = {key for key in play.book.alarms.standing if key != BEATS}
    return standing <= {agent_key(name) for name in waiting} and bool(waiting)


def _alternate(flips: list[tuple[datetime, Flip]]) -> None:
    """Every alarm is told, then its end, then the next alarm: never twice the same."""
    state: dict[str, object] = {}
    for _, flip in flips:
        assert not flip.reminder
        assert state.get(flip.key) is flip.old
        assert flip.old is not flip.new
        state[flip.key] = flip.new


@settings(deadline=None, max_examples=40)
@given(agent=RHYTHMS, gaps=st.lists(st.integers(min_value=-3000, max_value=3000), min_size=1, max_size=6))
def test_B6_steps_of_the_clock_alone_tell_nobody(agent: Agent, gaps: list[int]) -> None:
    play = Play([agent])
    now = BEGIN
    for _ in range(8):
        now += MINUTE
        play.beats[agent.id].append(now)
        play.look(now)
    for gap in gaps:
        now += gap * MINUTE
        play.look(now)
        # Whatever the clock says now: a scheduler that finds somebody due beats within the minute.
        now += MINUTE
        play.beats[agent.id].append(now)
        play.look(now)
    assert play.flips == []


def test_good_and_bad_leave_out_what_nobody_can_tell() -> None:
    assert set(Status) - GOOD - BAD == {Status.LATE, Status.NEW}
    assert next_slot(member("coo").policy, "UTC", BEGIN) > BEGIN


KEYS = ("agent/coo", "agent/dev", "store")
MESSAGES = st.lists(
    st.tuples(
        st.text(alphabet="心跳没有来\n -x", min_size=1, max_size=12),
        st.sets(st.sampled_from(KEYS)),
        st.integers(min_value=1, max_value=2500),
    ),
    min_size=1,
    max_size=130,
)


@settings(deadline=None, max_examples=60)
@given(messages=MESSAGES, standing=st.sets(st.sampled_from(KEYS)))
def test_the_newest_message_and_what_stands_is_in_every_letter_and_none_is_lost_without_being_counted(
    messages: list[tuple[str, set[str], int]], standing: set[str]
) -> None:
    kept: tuple[Post, ...] = ()
    for number, (text, about, length) in enumerate(messages):
        body = f"#{number}: {text * (length // len(text) + 1)}"[:length]
        kept = with_post(
            kept, Post(str(number), "info", f"title {number}", body, BEGIN, about=tuple(sorted(about))), standing
        )
    assert len(kept) <= POSTS
    letter = letter_of(kept, make_roster(), repeat=False, standing=standing)
    assert letter.count == len(messages)
    assert clean(kept[-1].body) in letter.body
    assert len(letter.body.encode()) <= 14_000
    if len(messages) > 1:
        listed = letter.body.count("【")
        left = f"另有 {len(messages) - listed} 条更早的消息未列出。"
        assert letter.body.endswith(left) is (listed < len(messages))
        words = {max((int(post.key) for post in kept if key in post.about), default=-1) for key in standing}
        newest = [kept[-1], *(post for post in reversed(kept) if int(post.key) in words and post is not kept[-1])]
        told = [post for post in newest if f"】{post.title}\n" in letter.body]
        assert told == newest[: len(told)]
        assert len(told) == len(newest) or listed == len(told), "what stands comes before everything else"
