"""How a beat reaches the world: whom it asks for sources, writers, channels and engines, and how it waits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from heartbeat.actions import WriterBuilder
from heartbeat.attempt import Uptime
from heartbeat.dispatch.base import SpawnerBuilder
from heartbeat.dispatch.context import Means
from heartbeat.dispatch.engines import build_spawner
from heartbeat.dispatch.uptime import uptime
from heartbeat.notify.channels import open_channel
from heartbeat.notify.delivery import Open
from heartbeat.sweep import SourceBuilder
from heartbeat.systems.registry import build_source, build_writer


@dataclass(frozen=True, slots=True)
class Peers:
    """What there really is. A simulation puts a scripted world in its place."""

    source: SourceBuilder = build_source
    writer: WriterBuilder = build_writer
    channel: Open = open_channel
    pause: Callable[[float], None] = time.sleep
    """Waits, in seconds."""
    spawner: SpawnerBuilder = build_spawner
    chance: Callable[[], float] = random.random
    """A number from 0 up to 1, for jitter."""
    uptime: Callable[[], Uptime] = uptime
    """Shows a clock that nobody sets."""

    @property
    def means(self) -> Means:
        """What starting turns needs of it."""
        return Means(self.writer, self.spawner, self.pause, self.chance, uptime=self.uptime)
