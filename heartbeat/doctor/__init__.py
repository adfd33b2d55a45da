"""What works and what does not, with what to do about it: every transport tried, versions, files, state.

`examine` looks at all of it; each part gives `Check`s, the worst of which decides the exit code.
"""

from __future__ import annotations

from heartbeat.doctor.check import Check, Level, worst
from heartbeat.doctor.examination import Examination, examine

__all__ = ["Check", "Examination", "Level", "examine", "worst"]
