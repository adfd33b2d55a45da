"""All cases of the contract suite, collected from the places that know how to set them up."""

from __future__ import annotations

from typing import Any

from tests.support import multica_cases, openclaw_cases, real_openclaw_cases, todo_cases

CASES: list[Any] = [*openclaw_cases.CASES, *multica_cases.CASES, *todo_cases.CASES, *real_openclaw_cases.CASES]
"""`pytest.param(open_case, id=…, marks=…)` of an `OpenCase` each."""
