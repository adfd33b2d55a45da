"""Which engines there are: the one place that names them all."""

from __future__ import annotations

from collections.abc import Mapping

from heartbeat.attempt import Engine
from heartbeat.dispatch.base import Spawner
from heartbeat.roster.model import Roster


def build_spawner(engine: Engine, roster: Roster, environment: Mapping[str, str]) -> Spawner | None:
    """The way to an engine as the roster's sources describe it; None where the roster has no such source."""
    if engine is Engine.MULTICA:
        from heartbeat.dispatch.multica import build as build_multica

        return build_multica(roster, environment)
    from heartbeat.dispatch.openclaw import build as build_openclaw

    return build_openclaw(roster, environment)
