"""What holds for all tests: the same examples at every run, so that a red run is about the change before it.

No example is measured: how long one takes is the machine's business. `HEARTBEAT_RANDOM_EXAMPLES=1` looks for new ones.
"""

from __future__ import annotations

import gc
import os
import sys

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)
settings.load_profile("new" if os.environ.get("HEARTBEAT_RANDOM_EXAMPLES") == "1" else "same")

# Without kept bytecode every worker would rewrite the assertions of every test file, and every child process of a test
# would compile all that it imports, at every run: a quarter of all the time. The variable is set in many containers.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_finish() -> None:
    """Thousands of tests stay until the end: the collector need not walk them again and again."""
    gc.collect()
    gc.freeze()
