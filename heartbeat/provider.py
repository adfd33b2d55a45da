"""Who answers for a turn's model, in which order, and with which numbers (rule F1). Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from heartbeat.breaker import Breaker, Rules

ACCEPTANCE = timedelta(seconds=30)
"""How long an engine may take to accept a turn, where the roster says nothing else."""

RUN_DEADLINE = timedelta(seconds=600)
"""How long a turn may last, where the roster says nothing else (rule F1)."""

NATIVE = "native"
"""The name under which OpenClaw's own choice of models is on record."""

MULTICA_NATIVE = "multica-native"
"""The name under which Multica's own choice is; the breaker called `multica` is that of the engine itself."""


OWN_CHOICE = frozenset({NATIVE, MULTICA_NATIVE})
"""The names under which an engine goes by each agent's own settings."""


def breaker_of(provider: str, agent: str) -> str:
    """The name of the breaker that hears of an agent's turns with a provider. What an engine chooses by itself is each
    agent's own setting: one agent whose model does not exist must not keep the others from work."""
    return f"{provider}/{agent}" if provider in OWN_CHOICE else provider


def breakers_for(agent: str, breakers: Mapping[str, Breaker]) -> Mapping[str, Breaker]:
    """The breakers by provider, as the turns of one agent meet them."""
    shared = {name: breaker for name, breaker in breakers.items() if name not in OWN_CHOICE}
    own = {name: breakers.get(breaker_of(name, agent)) for name in OWN_CHOICE}
    return {**shared, **{name: breaker for name, breaker in own.items() if breaker is not None}}


class Strategy(StrEnum):
    """Who goes on to the next model: OpenClaw by its own fallbacks, or heartbeat, which names the model (rule F1)."""

    NATIVE = "native"
    MANAGED = "managed"


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider. `model` is what the engine is asked for (`provider/model`); empty for the engine's own choice.

    `max_retries` counts the tries after the first. `timeout` bounds the acceptance of a turn, `run_deadline` the turn.
    """

    name: str
    model: str = ""
    priority: int = 1
    max_retries: int = 3
    timeout: timedelta = ACCEPTANCE
    run_deadline: timedelta = RUN_DEADLINE
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Failover:
    """The providers in the order in which they are asked, the enabled ones and the others, and the breakers' numbers.

    With `native` there is one provider, called `native`.
    """

    strategy: Strategy = Strategy.NATIVE
    providers: tuple[Provider, ...] = (Provider(NATIVE),)
    rules: Rules = field(default_factory=Rules)

    @property
    def enabled(self) -> tuple[Provider, ...]:
        return tuple(each for each in self.providers if each.enabled)

    def named(self, name: str) -> Provider | None:
        return next((each for each in self.providers if each.name == name), None)
