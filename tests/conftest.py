"""What holds for all tests: the same examples at every run, so that a red run is about the change before it.

No example is measured: how long one takes is the machine's business. `HEARTBEAT_RANDOM_EXAMPLES=1` looks for new ones.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
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


HOMES = {
    "XDG_STATE_HOME": Path.home() / ".local" / "state",
    "XDG_CONFIG_HOME": Path.home() / ".config",
}
"""Where the person who runs the tests keeps things, unless they say otherwise."""
_OF_WORKERS = "HEARTBEAT_TESTS_REAL_HOMES"
"""Where workers find what they can no longer see: their environment is the tests' already."""
os.environ.setdefault(_OF_WORKERS, os.pathsep.join(str(os.environ.get(name) or usual) for name, usual in HOMES.items()))
_REAL = tuple(Path(home) / "heartbeat" for home in os.environ[_OF_WORKERS].split(os.pathsep))
_elsewhere = pytest.StashKey["tempfile.TemporaryDirectory[str]"]()


def _kept_there() -> frozenset[Path]:
    """What heartbeat keeps in the real directories, by name: rosters' states, watchdogs' notebooks, units of the
    machine. Not what lies in a state, where a real team may beat meanwhile."""
    found = (path for place in _REAL for pattern in ("*", "watchdog/*") for path in place.glob(pattern))
    units = Path("/etc/systemd/system").glob("heartbeat*")
    return frozenset((*units, *(path for path in found if path.suffix != ".tmp")))


@pytest.fixture(scope="session", autouse=True)
def _nobodys_own_files_are_touched() -> Iterator[None]:
    """Nothing that a test does is to be found in the home of who runs it."""
    before = _kept_there()
    yield
    left = sorted(map(str, _kept_there() ^ before))
    assert not left, f"tests have written into, or removed from, the real home: {', '.join(left)}"


MEMORY, ROOM = Path("/dev/shm"), 4 * 1024**3
"""Where files cost no disk, and bytes that must be free there: a run needs a tenth of that."""
_kept = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_elsewhere] = tempfile.TemporaryDirectory(prefix="heartbeat-tests-")
    os.environ |= {name: str(Path(config.stash[_elsewhere].name, name.lower())) for name in HOMES}
    _keep_in_memory(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_elsewhere].cleanup()


def _keep_in_memory(config: pytest.Config) -> None:
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


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Before the first run no test module is compiled, and each worker would compile all of them, in step with the
    others. So each begins at another place: what it comes to later, somebody has compiled and kept."""
    config = session.config
    if not hasattr(config, "workerinput") or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    modules = sorted(path.relative_to(config.rootpath) for path in config.rootpath.glob("tests/**/test_*.py"))
    worker, workers = int(config.workerinput["workerid"].removeprefix("gw")), config.workerinput["workercount"]
    first = len(modules) * worker // workers
    for path in (*modules[first:], *modules[:first]):
        with suppress(Exception, pytest.skip.Exception):  # the collection meets it again, and tells
            import_module(".".join(path.with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Thousands of tests stay until the end: the collector need not walk them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_crontab_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that takes `crontab` from the PATH must not find the machine's own."""
    monkeypatch.setattr("heartbeat.install.crontab.USUAL_PLACES", ())
