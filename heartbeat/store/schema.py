"""The tables, as an ordered list of migrations.

To add a table or a column, append a `Migration` at the end and nothing else: every older database takes the missing
steps, in order, in one transaction, when it is next opened for writing. A migration that was released never changes.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import cache

APPLICATION_ID = 0x48426174
"""In the file's header (the letters HBat): tells our database from another program's."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. Each statement stands alone, since a script would commit half-way."""

    adds: str
    statements: tuple[str, ...]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "receipts, links, sightings, completions, tombstones",
        (
            """CREATE TABLE receipts (
                sequence INTEGER PRIMARY KEY,
                id NOT NULL UNIQUE,
                agent NOT NULL,
                slot TEXT,
                started_at TEXT NOT NULL,
                ended_at TEXT NOT NULL,
                outcome TEXT NOT NULL,
                degraded INTEGER NOT NULL,
                sources NOT NULL,
                buckets NOT NULL,
                rejected NOT NULL,
                reasons NOT NULL,
                version NOT NULL,
                host NOT NULL,
                pid INTEGER NOT NULL
            )""",
            "CREATE INDEX receipts_by_agent ON receipts (agent, sequence)",
            "CREATE INDEX receipts_by_start ON receipts (started_at)",
            """CREATE TABLE links (
                first_source NOT NULL,
                first_id NOT NULL,
                second_source NOT NULL,
                second_id NOT NULL,
                via NOT NULL,
                made_at TEXT NOT NULL,
                PRIMARY KEY (first_source, first_id, second_source, second_id)
            ) WITHOUT ROWID""",
            """CREATE TABLE sightings (
                source NOT NULL,
                id NOT NULL,
                first_seen TEXT NOT NULL,
                last_seen TEXT NOT NULL,
                PRIMARY KEY (source, id)
            ) WITHOUT ROWID""",
            """CREATE TABLE completions (
                source NOT NULL,
                identity NOT NULL,
                at TEXT NOT NULL,
                PRIMARY KEY (source, identity)
            ) WITHOUT ROWID""",
            """CREATE TABLE tombstones (
                sequence INTEGER PRIMARY KEY,
                at TEXT NOT NULL,
                reason NOT NULL,
                quarantined,
                accepted_at TEXT,
                accepted_by
            )""",
        ),
    ),
    Migration(
        "what the rules remember: clocks, windows, own, waiting, incidents, rounds, holds, pauses; the outbox; the log",
        (
            """CREATE TABLE clocks (
                source NOT NULL,
                id NOT NULL,
                epoch NOT NULL,
                began_at TEXT NOT NULL,
                seen_at TEXT NOT NULL,
                activity,
                progress,
                newest_at TEXT,
                newest_id,
                revision,
                PRIMARY KEY (source, id)
            ) WITHOUT ROWID""",
            """CREATE TABLE windows (
                source NOT NULL,
                position INTEGER NOT NULL,
                began TEXT NOT NULL,
                until TEXT NOT NULL,
                PRIMARY KEY (source, position)
            ) WITHOUT ROWID""",
            """CREATE TABLE own (
                source NOT NULL,
                id NOT NULL,
                evidence NOT NULL,
                at TEXT NOT NULL,
                PRIMARY KEY (source, id, evidence)
            ) WITHOUT ROWID""",
            """CREATE TABLE waiting (
                source NOT NULL,
                id NOT NULL,
                target NOT NULL,
                since TEXT NOT NULL,
                PRIMARY KEY (source, id, target)
            ) WITHOUT ROWID""",
            """CREATE TABLE incidents (
                incident NOT NULL PRIMARY KEY,
                source NOT NULL,
                id NOT NULL,
                refs NOT NULL,
                epoch NOT NULL,
                title NOT NULL,
                owner_kind NOT NULL,
                owner_id NOT NULL,
                opened_at TEXT NOT NULL,
                stage NOT NULL,
                number INTEGER NOT NULL,
                steps NOT NULL,
                nudged_at TEXT,
                recovered_at TEXT,
                ended_at TEXT,
                ending,
                why NOT NULL,
                storm INTEGER NOT NULL
            ) WITHOUT ROWID""",
            """CREATE TABLE rounds (
                source NOT NULL,
                id NOT NULL,
                used INTEGER NOT NULL,
                extra INTEGER NOT NULL,
                idle INTEGER NOT NULL,
                progress_at TEXT,
                turn_at TEXT,
                slot TEXT,
                warned_at TEXT,
                paused_at TEXT,
                PRIMARY KEY (source, id)
            ) WITHOUT ROWID""",
            """CREATE TABLE holds (
                source NOT NULL,
                id NOT NULL,
                since TEXT NOT NULL,
                until TEXT NOT NULL,
                why NOT NULL,
                author NOT NULL,
                PRIMARY KEY (source, id)
            ) WITHOUT ROWID""",
            """CREATE TABLE pauses (
                agent NOT NULL PRIMARY KEY,
                since TEXT NOT NULL,
                until TEXT,
                why NOT NULL,
                author NOT NULL
            ) WITHOUT ROWID""",
            """CREATE TABLE outbox (
                sequence INTEGER PRIMARY KEY,
                key NOT NULL UNIQUE,
                kind NOT NULL,
                target NOT NULL,
                payload NOT NULL,
                created_at TEXT NOT NULL,
                due_at TEXT NOT NULL,
                task NOT NULL,
                incident NOT NULL,
                state NOT NULL,
                attempts INTEGER NOT NULL,
                claimed_at TEXT,
                finished_at TEXT,
                error NOT NULL,
                result NOT NULL
            )""",
            "CREATE INDEX outbox_by_state ON outbox (state, created_at)",
            "CREATE INDEX outbox_by_incident ON outbox (incident, created_at)",
            # AUTOINCREMENT: a number that retention freed is never given again, so that who follows the log misses
            # nothing.
            """CREATE TABLE log (
                sequence INTEGER PRIMARY KEY AUTOINCREMENT,
                at TEXT NOT NULL,
                action NOT NULL,
                message NOT NULL,
                agent NOT NULL,
                task NOT NULL,
                incident NOT NULL,
                details NOT NULL
            )""",
            "CREATE INDEX log_by_time ON log (at)",
            "CREATE INDEX log_by_agent ON log (agent, sequence)",
            "CREATE INDEX log_by_task ON log (task, sequence)",
        ),
    ),
    Migration(
        "misses",
        (
            """CREATE TABLE misses (
                agent NOT NULL,
                first TEXT NOT NULL,
                last TEXT NOT NULL,
                count INTEGER NOT NULL,
                reason TEXT NOT NULL,
                noted_at TEXT NOT NULL,
                PRIMARY KEY (agent, first)
            ) WITHOUT ROWID""",
            "CREATE INDEX misses_by_last ON misses (agent, last)",
            "CREATE INDEX receipts_by_slot ON receipts (agent, slot)",
        ),
    ),
    Migration(
        "turns: attempts, breakers, letters; what a receipt says of them",
        (
            """CREATE TABLE attempts (
                sequence INTEGER PRIMARY KEY,
                id NOT NULL UNIQUE,
                agent NOT NULL,
                refs NOT NULL,
                task NOT NULL,
                title NOT NULL,
                number INTEGER NOT NULL,
                engine TEXT NOT NULL,
                provider NOT NULL,
                planned_at TEXT NOT NULL,
                model NOT NULL,
                session NOT NULL,
                life TEXT NOT NULL,
                continued INTEGER NOT NULL,
                before NOT NULL,
                letter NOT NULL,
                run NOT NULL,
                tries INTEGER NOT NULL,
                spawned_at TEXT,
                accepted_at TEXT,
                deadline TEXT,
                ended_at TEXT,
                outcome TEXT,
                cause TEXT,
                exit_code INTEGER,
                error NOT NULL,
                input_tokens INTEGER,
                output_tokens INTEGER,
                cost_usd REAL
            )""",
            "CREATE INDEX attempts_by_agent ON attempts (agent, sequence)",
            # These two let nothing be twice that must be once (rule X5), in whatever order processes come to write.
            "CREATE UNIQUE INDEX attempts_unfinished ON attempts (agent) WHERE life <> 'ended'",
            """CREATE TABLE attempt_refs (
                attempt INTEGER NOT NULL,
                source NOT NULL,
                id NOT NULL,
                unfinished INTEGER NOT NULL,
                PRIMARY KEY (attempt, source, id)
            ) WITHOUT ROWID""",
            "CREATE INDEX attempt_refs_by_ref ON attempt_refs (source, id)",
            "CREATE UNIQUE INDEX attempt_refs_unfinished ON attempt_refs (source, id) WHERE unfinished = 1",
            """CREATE TRIGGER attempt_ended AFTER UPDATE OF life ON attempts WHEN new.life = 'ended' BEGIN
                UPDATE attempt_refs SET unfinished = 0 WHERE attempt = new.sequence;
            END""",
            """CREATE TRIGGER attempt_forgotten AFTER DELETE ON attempts BEGIN
                DELETE FROM attempt_refs WHERE attempt = old.sequence;
            END""",
            """CREATE TABLE breakers (
                provider NOT NULL PRIMARY KEY,
                state TEXT NOT NULL,
                failures INTEGER NOT NULL,
                openings INTEGER NOT NULL,
                until TEXT,
                probe NOT NULL,
                probe_at TEXT,
                coolings INTEGER NOT NULL,
                cooled_until TEXT,
                why NOT NULL,
                changed_at TEXT
            ) WITHOUT ROWID""",
            """CREATE TABLE letters (
                sequence INTEGER PRIMARY KEY,
                id NOT NULL UNIQUE,
                refs NOT NULL,
                task NOT NULL,
                title NOT NULL,
                agent NOT NULL,
                created_at TEXT NOT NULL,
                due_at TEXT NOT NULL,
                error NOT NULL,
                attempts NOT NULL,
                tries INTEGER NOT NULL,
                poison INTEGER NOT NULL,
                state TEXT NOT NULL,
                closed_at TEXT,
                payload NOT NULL
            )""",
            "CREATE INDEX letters_by_state ON letters (state, sequence)",
            "ALTER TABLE receipts ADD COLUMN dispatch NOT NULL DEFAULT '{}'",
            "ALTER TABLE receipts ADD COLUMN level NOT NULL DEFAULT ''",
            "ALTER TABLE receipts ADD COLUMN level_reasons NOT NULL DEFAULT '[]'",
        ),
    ),
    Migration(
        "how long turns have gone on, by a clock that nobody sets",
        (
            "ALTER TABLE attempts ADD COLUMN boot",
            "ALTER TABLE attempts ADD COLUMN uptime REAL",
            "ALTER TABLE attempts ADD COLUMN lasted REAL",
        ),
    ),
    Migration(
        "whose state this is, which beats were the first, and by which rhythm each came",
        (
            "CREATE TABLE belonging (place INTEGER PRIMARY KEY CHECK (place = 1), path NOT NULL, agents NOT NULL, "
            "since TEXT NOT NULL)",
            "ALTER TABLE receipts ADD COLUMN first NOT NULL DEFAULT 0",
            "ALTER TABLE receipts ADD COLUMN rhythm NOT NULL DEFAULT ''",
        ),
    ),
)


def version_of(connection: sqlite3.Connection) -> int:
    """The number of migrations that a database has had."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, migrations: tuple[Migration, ...]) -> None:
    """Takes the steps that are missing; the caller holds a write transaction, so nobody else takes them meanwhile."""
    for number in range(version_of(connection), len(migrations)):
        for statement in migrations[number].statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number + 1}")


def objects_of(connection: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    """Kind and name of every table, index, view and trigger in a database."""
    rows = connection.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%'")
    return frozenset((str(kind), str(name)) for kind, name in rows)


@cache
def objects_after(migrations: tuple[Migration, ...]) -> frozenset[tuple[str, str]]:
    """What a database holds after these migrations: whatever they make of an empty one."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection, migrations)
        return objects_of(connection)
    finally:
        connection.close()
