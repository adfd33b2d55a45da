"""Which settings a roster may hold, section by section (rule R1). Imports pydantic: import this module late.

References to the environment are resolved at the setting where they stand; secrets become names of variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeGuard

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationInfo, model_validator

from heartbeat.roster import fields
from heartbeat.roster.document import Mistake
from heartbeat.roster.expansion import Expansion
from heartbeat.roster.fields import Variable


def _with_expansion(convert: Callable[[Any, Expansion], Any]) -> PlainValidator:
    def converted(value: Any, info: ValidationInfo) -> Any:
        if not isinstance(info.context, Expansion):
            raise TypeError("a roster is validated with an Expansion as context")
        return convert(value, info.context)

    return PlainValidator(converted)


Text = Annotated[str, PlainValidator(fields.text)]
Flag = Annotated[bool, PlainValidator(fields.flag)]
Duration = Annotated[timedelta, PlainValidator(fields.duration)]
Count = Annotated[int, PlainValidator(fields.count)]
Natural = Annotated[int, PlainValidator(fields.natural)]
Amount = Annotated[float, PlainValidator(fields.amount)]
Words = Annotated[tuple[Text, ...], BeforeValidator(fields.as_list)]
Expanded = Annotated[str, _with_expansion(fields.expanded)]
FilePath = Annotated[Path, _with_expansion(fields.path)]
Program = Annotated[str, _with_expansion(fields.program)]
WebAddress = Annotated[str, _with_expansion(fields.address("https", "http"))]
SocketAddress = Annotated[str, _with_expansion(fields.address("wss", "ws"))]
ServerAddress = Annotated[str, _with_expansion(fields.address("https", "http", "wss", "ws"))]
Secret = Annotated[Variable, PlainValidator(fields.secret)]
SecretAddress = Annotated[Variable | str, PlainValidator(fields.secret_address)]
VariableName = Annotated[Variable, PlainValidator(fields.variable)]
Recovery = Annotated[str, PlainValidator(fields.choice("observe", "notify", "act"))]
Dispatch = Annotated[str, PlainValidator(fields.choice("none", "openclaw", "multica"))]


class Section(BaseModel):
    """A mapping of known keys. Keys that were not written are None, or the default."""

    model_config = ConfigDict(extra="forbid", defer_build=True, arbitrary_types_allowed=True)


class OperatorSection(Section):
    name: Text = ""
    notify: Words = ()


class EscalationSection(Section):
    first: Annotated[str, PlainValidator(fields.choice("notify", "silent"))] = "notify"
    window: Duration = timedelta(hours=24)
    storm: Count = 3


class DependenciesSection(Section):
    parent: Annotated[str, PlainValidator(fields.choice("started", "strict", "off"))] = "started"


class BudgetSection(Section):
    turns_per_day: Count | None = None
    cost_per_day_usd: Amount | None = None
    tokens_per_day: Count | None = None


class LimitsSection(Section):
    running: Count = 4


class FailoverSection(Section):
    """How starting a turn goes on to the next provider (rules F1, F2)."""

    strategy: Annotated[str, PlainValidator(fields.choice("native", "managed"))] = "native"
    open_after: Count = 3
    open_for: Duration = timedelta(minutes=5)
    open_for_at_most: Duration = timedelta(hours=1)


class WatchdogSection(Section):
    grace: Duration = timedelta(minutes=5)
    ping_url: SecretAddress | None = None
    ping_url_env: VariableName | None = None
    beats_ping_url: SecretAddress | None = None
    beats_ping_url_env: VariableName | None = None
    notify: Words = ("operator",)


MaybeEmpty = BeforeValidator(lambda value: {} if value is None else value)
"""A section whose keys are all commented out counts as an empty one."""


class TopSection(Section):
    """The keys at the top of the roster; those of `Any` are checked entry by entry."""

    version: Annotated[int, PlainValidator(fields.version)] = 1
    timezone: Annotated[str, PlainValidator(fields.timezone)] = "UTC"
    operator: Annotated[OperatorSection, MaybeEmpty] = Field(default_factory=OperatorSection)
    state: FilePath | None = None
    template: FilePath | None = None
    workspaces: Annotated[Path, _with_expansion(fields.workspaces)] | None = None
    recovery: Recovery | None = None
    recovery_status: Annotated[str, PlainValidator(fields.choice("blocked", "todo"))] = "blocked"
    escalation: Annotated[EscalationSection, MaybeEmpty] = Field(default_factory=EscalationSection)
    dependencies: Annotated[DependenciesSection, MaybeEmpty] = Field(default_factory=DependenciesSection)
    dispatch: Dispatch | None = None
    quiet_after_talk: Duration = timedelta(minutes=10)
    retention: Duration = timedelta(days=90)
    require_output: Flag | None = None
    snapshot_ttl: Duration | None = None
    sources: Any = None
    channels: Any = None
    providers: Any = None
    failover: Annotated[FailoverSection, MaybeEmpty] = Field(default_factory=FailoverSection)
    budget: Annotated[BudgetSection, MaybeEmpty] = Field(default_factory=BudgetSection)
    limits: Annotated[LimitsSection, MaybeEmpty] = Field(default_factory=LimitsSection)
    watchdog: Annotated[WatchdogSection, MaybeEmpty] = Field(default_factory=WatchdogSection)
    on_complete: tuple[Annotated[tuple[str, ...], PlainValidator(fields.commands)], ...] = ()
    classes: Any = None
    agents: Any = None


class PolicySection(Section):
    """What a class says and an agent may say otherwise."""

    every: Duration | None = None
    cron: Annotated[str, PlainValidator(fields.cron)] | None = None
    suspect_after: Duration | None = None
    recover_after: Duration | None = None
    runtime_limit: Duration | None = None
    dependency_wait: Duration | None = None
    max_rounds: Count | None = None
    notify: Words | None = None
    recovery: Recovery | None = None
    dispatch: Dispatch | None = None
    require_output: Flag | None = None
    checks: Words | None = None


class ClassSection(PolicySection):
    label: Text | None = None


class AgentSection(PolicySection):
    name: Text | None = None
    class_id: Text = Field(alias="class")
    multica_id: Annotated[str, PlainValidator(fields.multica_id)] | None = None
    workspace: FilePath | None = None
    patrol: Flag = False
    backup: Text | None = None
    template: FilePath | None = None
    enabled: Flag = True


class SourceSection(Section):
    """What every source has."""

    timeout: Duration = timedelta(seconds=60)
    required: Flag = False


class TransportedSection(SourceSection):
    transport: str = "auto"
    path: FilePath | None = None
    binary: Program | None = None
    token: Secret | None = None
    token_env: VariableName | None = None

    @model_validator(mode="after")
    def _a_file_has_a_path(self) -> TransportedSection:
        if self.transport == "file" and self.path is None:
            raise Mistake("`transport: file` needs a `path` to the saved JSON")
        return self


class WorkboardSection(TransportedSection):
    transport: Annotated[str, PlainValidator(fields.choice("auto", "gateway", "cli", "file"))] = "auto"
    board: Expanded | None = None
    url: SocketAddress | None = None


class MulticaSection(TransportedSection):
    transport: Annotated[str, PlainValidator(fields.choice("auto", "api", "cli", "file"))] = "auto"
    workspace_id: Expanded | None = None
    server_url: ServerAddress | None = None
    profile: Expanded | None = None


class TodoSection(SourceSection):
    files: Annotated[tuple[Annotated[str, PlainValidator(fields.todo_file)], ...], BeforeValidator(fields.as_list)] = (
        "TODO.md",
        "AGENTS.md",
    )
    bullets: Flag = False
    create_cards: Flag = False


SOURCES: Mapping[str, type[SourceSection]] = {
    "workboard": WorkboardSection,
    "multica": MulticaSection,
    "todo": TodoSection,
}


class ChannelSection(Section):
    kind: Text
    min_level: Annotated[str, PlainValidator(fields.choice("info", "warning", "critical"))] = "info"


class AddressedSection(ChannelSection):
    """A channel whose address lets anybody who knows it write to it."""

    url: SecretAddress | None = None
    url_env: VariableName | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> AddressedSection:
        if self.url is None and self.url_env is None:
            raise Mistake(f"a channel of kind {self.kind} needs `url_env: NAME`, the variable that holds its address")
        return self


class FeishuSection(AddressedSection):
    secret: Secret | None = None
    secret_env: VariableName | None = None


class WebhookSection(AddressedSection):
    token: Secret | None = None
    token_env: VariableName | None = None


class OpenclawSection(ChannelSection):
    channel: Expanded
    target: Expanded
    account: Expanded | None = None


class FileSection(ChannelSection):
    path: FilePath


CHANNELS: Mapping[str, type[ChannelSection]] = {
    "feishu": FeishuSection,
    "webhook": WebhookSection,
    "openclaw": OpenclawSection,
    "apprise": AddressedSection,
    "file": FileSection,
}


class ProviderSection(Section):
    """A model provider in the order of failover (rules F1, V1). `timeout_sec` is `timeout` in bare seconds."""

    name: Text
    priority: Count | None = None
    max_retries: Natural = 3
    timeout: Duration | None = None
    timeout_sec: Annotated[timedelta, PlainValidator(fields.seconds)] | None = None
    run_deadline: Duration = timedelta(seconds=600)
    enabled: Flag = True
    model: Text | None = None
    base_url: WebAddress | None = None
    api_key: Secret | None = None
    api_key_env: VariableName | None = None
    tags: Words = ()
    ctx: Count | None = None
    cost: Amount | None = None
    local: Flag | None = None


def known_keys(model: type[BaseModel], steps: Iterable[str | int] = ()) -> tuple[str, ...]:
    """The keys that a section, or the section inside it that the steps lead to, may hold."""
    for step in steps:
        inner = model.model_fields.get(str(step))
        if inner is None or not _is_section(inner.annotation):
            return ()
        model = inner.annotation
    return tuple(info.alias or name for name, info in model.model_fields.items())


def may_be_empty(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model of what may stand empty under a key (all its settings commented out), or None for a setting."""
    info = model.model_fields.get(key)
    if info is None:
        return None
    if info.annotation is Any:
        return BaseModel
    return info.annotation if _is_section(info.annotation) else None


def _is_section(annotation: Any) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def settings_of(section: Section) -> dict[str, Any]:
    """Plain data: what was given and the defaults. `timeout` in seconds, paths as text, secrets as `<key>_env`."""
    settings: dict[str, Any] = {}
    for name, value in section:
        if isinstance(value, Variable):
            settings[name if name.endswith("_env") else f"{name}_env"] = value.name
        elif isinstance(value, timedelta):
            settings[name] = value.total_seconds() if name == "timeout" else value
        elif value is not None:
            settings[name] = str(value) if isinstance(value, Path) else value
    return settings
