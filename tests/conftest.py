"""What holds for all tests: the same examples at every run, so that a red run is about the change before it.

No example is measured: how long one takes is the machine's business. `HEARTBEAT_RANDOM_EXAMPLES=1` looks for new ones.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)
settings.load_profile("new" if os.environ.get("HEARTBEAT_RANDOM_EXAMPLES") == "1" else "same")
