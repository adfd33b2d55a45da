"""What holds for all tests: the same examples at every run, so that a red run is about the change before it.

No example is measured: how long one takes is the machine's business. `HEARTBEAT_RANDOM_EXAMPLES=1` looks for new ones.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)
settings.load_profile("new" if os.environ.get("HEARTBEAT_RANDOM_EXAMPLES") == "1" else "same")

# Without kept bytecode every worker would rewrite the assertions of every test file, and every child process of a test
# would compile all that it imports, at every run: a quarter of all the time. The variable is set in many containers.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


MEMORY, ROOM = Path("/dev/shm"), 4 * 1024**3
"""Where files cost no disk, and bytes that must be free there: a run needs a tenth of that."""
_kept = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Thousands of small databases are on disk after every commit, as the product wants it: on a disk that is memory
    that is a third of the time. Where there is none, or too little, or no program may lie there, it is the usual one.
    Tests of real systems, which keep far more, stay there too."""
    chosen = config.option.basetemp or os.environ.get("PYTEST_DEBUG_TEMPROOT") or os.environ.get("TMPDIR")
    if chosen or hasattr(config, "workerinput") or "not openclaw" not in config.option.markexpr:
        return
    try:
        found = os.statvfs(MEMORY)
        if found.f_bavail * found.f_frsize < ROOM or found.f_flag & os.ST_NOEXEC:
            return
        folder = MEMORY / f"hb{os.getuid()}"  # short: a socket's whole path has room for a hundred letters
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            return
    except OSError:
        return
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)
    config.stash[_kept] = True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Memory is given back where nobody will want to look at what is there."""
    if session.config.stash.get(_kept, False):
        del os.environ["PYTEST_DEBUG_TEMPROOT"]
        if exitstatus == pytest.ExitCode.OK:
            shutil.rmtree(session.config._tmp_path_factory.getbasetemp(), ignore_errors=True)  # type: ignore[attr-defined]


def pytest_collection_finish() -> None:
    """Thousands of tests stay until the end: the collector need not walk them again and again."""
    gc.collect()
    gc.freeze()
