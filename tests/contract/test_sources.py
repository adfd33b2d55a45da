"""The one contract suite: every source, every transport, fake and real."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbeat.instants import CLOCK_SKEW
from heartbeat.systems.base import Deadline, ReadStatus
from tests.contract.cases import CASES
from tests.contract.suite import Case, Fault, OpenCase

PATIENCE = 60.0


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    opened: OpenCase = request.param
    with opened(tmp_path) as case:
        yield case


def test_S1_a_complete_read_gives_every_item_and_says_how_it_was_read(case: Case) -> None:
    reading = case.source.read(Deadline.after(PATIENCE), case.now)
    assert reading.report.message == ""
    assert reading.report.status is ReadStatus.COMPLETE
    assert reading.report.transport == case.transport
    assert reading.report.kind is None
    assert {item.title for item in reading.items} == case.titles
    assert reading.report.items == len(reading.items) + len(reading.rejected)
    assert reading.report.read_at == case.now


def test_refs_are_unique_and_belong_to_the_source(case: Case) -> None:
    reading = case.source.read(Deadline.after(PATIENCE), case.now)
    refs = [item.ref for item in reading.items]
    assert len(set(refs)) == len(refs)
    assert {ref.source for ref in refs} == {case.source.name}
    assert {evidence.ref for evidence in reading.evidence} <= set(refs)


def test_S8_every_time_is_aware_and_not_ahead_of_now(case: Case) -> None:
    reading = case.source.read(Deadline.after(PATIENCE), case.now)
    instants = [
        instant for item in reading.items for instant in (item.created_at, item.updated_at, item.started_at) if instant
    ]
    instants += [evidence.at for evidence in reading.evidence]
    assert all(instant.tzinfo is not None for instant in instants)
    assert all(instant <= case.now + CLOCK_SKEW for instant in instants)


def test_M3_two_reads_of_the_same_thing_are_equal(case: Case) -> None:
    first = case.source.read(Deadline.after(PATIENCE), case.now)
    second = case.source.read(Deadline.after(PATIENCE), case.now)
    assert first.items == second.items
    assert first.evidence == second.evidence


def test_reading_and_probing_write_nothing(case: Case) -> None:
    case.source.read(Deadline.after(PATIENCE), case.now)
    case.source.probe(Deadline.after(PATIENCE))
    assert case.writes() == []


def test_R4_no_secret_shows_in_what_a_source_says_of_itself(case: Case) -> None:
    if case.secret is None:
        pytest.skip("no credential in use here")
    reading = case.source.read(Deadline.after(PATIENCE), case.now)
    probes = case.source.probe(Deadline.after(PATIENCE))
    for told in (case.source.identity, repr(reading), repr(probes), repr(case.source)):
        assert case.secret not in told


def test_a_probe_names_each_transport_and_the_one_in_use_works(case: Case) -> None:
    probes = {probe.transport: probe for probe in case.source.probe(Deadline.after(PATIENCE))}
    assert probes[case.transport].ok
    assert probes[case.transport].items == len(case.titles)


@pytest.mark.parametrize("fault", list(Fault))
def test_S2_a_source_that_fails_says_so_and_never_raises(case: Case, fault: Fault) -> None:
    if fault not in case.faults:
        pytest.skip("cannot happen to this transport")
    kind = case.faults[fault]()
    patience = 1.0 if fault is Fault.HANGING else PATIENCE
    began = time.monotonic()
    reading = case.source.read(Deadline.after(patience), case.now)
    assert time.monotonic() - began < 30.0, "a source that hangs is left at its deadline"
    assert reading.report.status is ReadStatus.FAILED
    assert reading.report.kind is kind
    assert reading.report.message
    assert reading.items == ()
    if case.secret is not None:
        assert case.secret not in repr(reading)
