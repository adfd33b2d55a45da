"""The ways out: one module a kind of channel, imported when a channel of that kind is opened."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from heartbeat.notify.channels.base import Channel, ChannelError, Failure
from heartbeat.roster.model import Roster

KINDS = ("feishu", "webhook", "openclaw", "apprise", "file")
"""Each is a module here with `build(name, settings, roster, environment)`."""


def open_channel(name: str, roster: Roster, environment: Mapping[str, str]) -> Channel:
    """The channel of that name, its secrets taken from the environment now (rule R4). Nothing is sent yet.

    Raises ChannelError, permanent, for a name that the roster does not have and a variable that is not set.
    """
    settings = roster.channels.get(name)
    if settings is None:
        raise ChannelError(
            Failure.PERMANENT,
            f"the roster has no channel {name} any more",
            advice="write it under `channels:` again, or let messages go elsewhere",
        )
    kind = settings.get("kind")
    if kind not in KINDS:
        raise ChannelError(Failure.PERMANENT, f"channel {name}: there is no kind {kind!r}", advice=", ".join(KINDS))
    channel: Channel = import_module(f"{__name__}.{kind}").build(name, settings, roster, environment)
    return channel
