"""What every writer must do, fake or real: a case says how one of them is set up, watched and disturbed.

A system's case lives in `tests/support/{openclaw,multica,todo}_writer_cases.py`, which gives `CASES`: a
`pytest.param(open_case, id=…)` of an `OpenWriterCase` each. `tests/contract/test_writers.py` runs them all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from heartbeat.action import Operation
from heartbeat.systems.base import Deadline, Reading, Source
from heartbeat.systems.writing import Writer
from heartbeat.task import Item, Ref, Status

WORKER = "coo"
"""Who owns what a case makes. Both are agents of every case's roster, and known to its system."""
OTHER = "architect"
PATIENCE = 60.0
"""Seconds for one call."""

STATUS_AFTER: Mapping[Operation, Status] = MappingProxyType(
    {
        Operation.COMMENT: Status.IN_PROGRESS,
        Operation.RECOVER: Status.TODO,
        Operation.BLOCK: Status.BLOCKED,
        Operation.UNBLOCK: Status.TODO,
        Operation.ASSIGN: Status.TODO,
        Operation.CLAIM: Status.IN_PROGRESS,
        Operation.MOVE: Status.IN_REVIEW,
        Operation.DONE: Status.DONE,
        Operation.ATTACH: Status.IN_PROGRESS,
    }
)
"""What each operation of the suite leaves, where a system does not say otherwise. RECOVER and MOVE name their status
in the write; UNBLOCK starts at a blocked item, CLAIM at one that waits, and all others at one in progress."""


class WriterCase(ABC):
    """One system that can be written to, over one transport. It starts without the suite's titles."""

    operations: ClassVar[frozenset[Operation]]
    """What its writer can do; of everything else `can` must say that it cannot."""
    status_after: ClassVar[Mapping[Operation, Status]] = STATUS_AFTER
    has_claims: ClassVar[bool] = False
    """Whether a worker holds a claim, so that a look names the claimant."""
    loses_answers: ClassVar[bool] = False
    """Whether `lose_next_answer` does anything: a local file has no answer to lose."""
    keeps_comments: ClassVar[bool] = True
    """Whether the text of a BLOCK, ASSIGN, MOVE, … can be read on the item afterwards."""

    @property
    @abstractmethod
    def writer(self) -> Writer: ...

    @property
    @abstractmethod
    def source(self) -> Source:
        """The same system, to be read with."""

    @property
    @abstractmethod
    def now(self) -> datetime:
        """The present, not before anything that the system has told so far."""

    @abstractmethod
    def work(self, title: str, agent: str = WORKER) -> Ref:
        """Makes an item in progress that `agent` owns, and has claimed where there are claims; no run is active."""

    @abstractmethod
    def waiting(self, title: str, agent: str = WORKER) -> Ref:
        """Makes an item that is still to do and belongs to `agent`."""

    @abstractmethod
    def blocked(self, title: str, agent: str = WORKER) -> Ref:
        """Makes a blocked item of `agent`'s."""

    @abstractmethod
    def comment_as_other(self, ref: Ref, text: str) -> None:
        """Somebody else says something on the item (where nothing can be said: changes its text a little)."""

    @abstractmethod
    def take(self, ref: Ref, agent: str = OTHER) -> None:
        """Somebody else takes the item meanwhile: it is in progress and `agent`'s afterwards."""

    @abstractmethod
    def texts(self, ref: Ref) -> Sequence[str]:
        """Every comment or annotation on the item, oldest first."""

    def outputs(self, ref: Ref) -> Sequence[str]:
        """Paths or addresses that are attached to it. Only where the writer can ATTACH."""
        raise NotImplementedError

    def lose_next_answer(self) -> None:
        """The next write reaches the system, and its answer does not reach us. Only where `loses_answers`."""
        raise NotImplementedError

    def read(self) -> Reading:
        """Everything there is, at the present."""
        return self.source.read(Deadline.after(PATIENCE), self.now)

    def item(self, ref: Ref) -> Item:
        """The item as the source reads it now."""
        return next(item for item in self.read().items if item.ref == ref)

    def signs(self, ref: Ref) -> Mapping[str, bool]:
        """Ids of everything that ever happened to the item, as the rules see it, and whether each is known as our own
        by the record itself. A system without evidence gives its revision (rule T9)."""
        return {evidence.id: evidence.own for evidence in self.read().evidence if evidence.ref == ref}

    def origin(self) -> Ref:
        """What a CREATE's write names: the line that the new card is for."""
        return Ref("todo", f"{WORKER}/TODO.md#写周报")


OpenWriterCase = Callable[[Path], AbstractContextManager[WriterCase]]
"""Opens a case in a directory of its own; leaving it stops whatever it started."""
