"""A copy of the database in memory, to see what a change would do without making it (rule B3)."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heartbeat.store import schema
from heartbeat.store.database import DatabaseTrouble, connect, trouble
from heartbeat.store.opening import BUSY_TIMEOUT, DATABASE, open_store_read_only
from heartbeat.store.port import Store
from heartbeat.store.sqlite import SqliteStore


@contextmanager
def rehearsal(directory: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> Iterator[Store | None]:
    """A store with what the state directory holds, which may be written to and is forgotten at the end.

    None where there is no usable database, and so nothing to change. Makes and changes no file. Raises StateError as
    opening for looking does.
    """
    path = directory / DATABASE
    with contextlib.ExitStack() as stack:
        # Opened for looking first: that examines the file, and keeps others from replacing it meanwhile.
        found = stack.enter_context(open_store_read_only(directory, busy_timeout=busy_timeout))
        if not isinstance(found, SqliteStore):
            yield None
            return
        copy = sqlite3.connect(":memory:", isolation_level=None)
        stack.callback(copy.close)
        try:
            with contextlib.closing(connect(path, "ro", busy_timeout)) as original:
                original.backup(copy)
            if schema.version_of(copy) < len(schema.MIGRATIONS):
                schema.migrate(copy, schema.MIGRATIONS)
        except DatabaseTrouble as error:
            raise trouble(path, error, busy_timeout) from error
        yield SqliteStore(copy, path, read_only=False, busy_timeout=busy_timeout)
