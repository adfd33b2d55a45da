"""Suites that say what must hold for every way to a system."""

import pytest

pytest.register_assert_rewrite("tests.contract.spawner_suite")
