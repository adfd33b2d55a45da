"""The roster's sections, each checked on its own, so that one mistake hides no other (rule R1).

Imports pydantic: import this module late.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from heartbeat.roster import fields
from heartbeat.roster.document import Document, Mistake, Place, Problem, quoted
from heartbeat.roster.expansion import Expansion
from heartbeat.roster.schema import (
    CHANNELS,
    SOURCES,
    AgentSection,
    ClassSection,
    PolicySection,
    ProviderSection,
    Section,
    TopSection,
    known_keys,
    may_be_empty,
    settings_of,
)

_SectionType = TypeVar("_SectionType", bound=Section)

SOURCE_TIMEOUT = 60.0
"""Seconds that a plug-in source has, unless the roster says otherwise."""

PROVIDER_TIMEOUT = timedelta(seconds=30)

_STRUCTURE = {"model_type": "a mapping", "tuple_type": "a list"}
"""What pydantic's own complaints are about; all others come from our functions."""

_SECRETS = ("token", "secret", "password", "webhook", "api_key")


@dataclass(slots=True)
class Parts:
    """The sections as read; a name whose section is wrong is there with None. `top` is None where it is wrong."""

    top: TopSection | None = None
    classes: dict[str, ClassSection | None] = field(default_factory=dict)
    agents: dict[str, AgentSection | None] = field(default_factory=dict)
    sources: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)
    channels: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)
    providers: Path | tuple[Mapping[str, Any], ...] = ()


class Notes:
    """The mistakes found so far. What stands in a place that was refused already is no news."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.problems: list[Problem] = []

    def at_value(self, place: Place, message: str) -> None:
        """A mistake in the value at `place`."""
        self._add(place, place, message, at_key=False)

    def at_key(self, place: Place, message: str, *, about: Place | None = None) -> None:
        """A mistake in the key of `place`, or in all that stands below it; the message may be about another place."""
        self._add(place, place if about is None else about, message, at_key=True)

    def _add(self, place: Place, about: Place, message: str, *, at_key: bool) -> None:
        if self._document.is_refused(place):
            return
        mark = self._document.of_key(place) if at_key else self._document.of_value(place)
        self.problems.append(Problem(mark, f"{dotted(about)}: {message}" if about else message))


def check_sections(
    document: Document, notes: Notes, expansion: Expansion, plug_in_sources: Callable[[], Iterable[str]]
) -> Parts:
    """What is right of each section; every mistake in it goes to the notes."""
    sections = _Sections(document, notes, expansion)
    return Parts(
        top=sections.read(TopSection, ()),
        classes={name: sections.read(ClassSection, ("classes", name)) for name in sections.names("classes")},
        agents={name: sections.read(AgentSection, ("agents", name)) for name in sections.names("agents")},
        sources=sections.sources(plug_in_sources),
        channels={name: sections.channel(("channels", name)) for name in sections.names("channels")},
        providers=sections.providers(),
    )


def dotted(place: Place) -> str:
    """A place for a message: `agents.coo.checks[2]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{quoted(step).strip('`')}" for step in place)
    return text.removeprefix(".")


class _Sections:
    def __init__(self, document: Document, notes: Notes, expansion: Expansion) -> None:
        self._document = document
        self._notes = notes
        self._expansion = expansion

    def read(self, model: type[_SectionType], place: Place) -> _SectionType | None:
        """The section at `place`, or None where it has mistakes."""
        data = self._document.get(place)
        try:
            return model.model_validate(
                self._filled(model, {} if data is None else data, place), context=self._expansion
            )
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                self._note(model, place, detail)
            return None

    def names(self, section: str) -> list[str]:
        """The names in a mapping of sections."""
        data = self._document.get((section,))
        if isinstance(data, dict):
            return list(data)
        if data is not None:
            self._notes.at_value((section,), f"must be a mapping of names to settings, not {fields.kind_of(data)}")
        return []

    def channel(self, place: Place) -> Mapping[str, Any] | None:
        data = self._document.get(place)
        if data is not None and not isinstance(data, dict):
            self._notes.at_value(place, f"must be a mapping, not {fields.kind_of(data)}")
            return None
        kind = (data or {}).get("kind")
        if kind is None:
            self._notes.at_key((*place, "kind"), f"a channel needs a `kind`: {', '.join(CHANNELS)}", about=place)
            return None
        if not isinstance(kind, str) or kind not in CHANNELS:
            guess = fields.nearest(str(kind), tuple(CHANNELS))
            self._notes.at_value((*place, "kind"), f"there is no such kind of channel{guess}")
            return None
        section = self.read(CHANNELS[kind], place)
        return None if section is None else settings_of(section)

    def sources(self, plug_in_sources: Callable[[], Iterable[str]]) -> dict[str, Mapping[str, Any] | None]:
        """Settings by source. A roster without `sources` reads all three; one with `sources` reads those it names."""
        place: Place = ("sources",)
        if place not in self._document.keys:
            return {name: settings_of(model()) for name, model in SOURCES.items()}
        names = self.names("sources")
        if self._document.get(place) in (None, {}):
            self._notes.at_key(place, f"names no source; name some of {', '.join(SOURCES)}, or remove the line")
        plug_ins = tuple(plug_in_sources()) if set(names) - set(SOURCES) else ()
        return {name: self._source(name, plug_ins) for name in names}

    def providers(self) -> Path | tuple[Mapping[str, Any], ...]:
        """A file of providers, which is read when it is needed, or the providers in the order of their priority."""
        place: Place = ("providers",)
        data = self._document.get(place)
        if isinstance(data, str):
            path = self._converted(place, lambda value: fields.path(value, self._expansion), data)
            return path if isinstance(path, Path) else ()
        if data is not None and not isinstance(data, list):
            self._notes.at_value(place, f"must be a path or a list of providers, not {fields.kind_of(data)}")
        found: dict[str, Mapping[str, Any]] = {}
        for index in range(len(data) if isinstance(data, list) else 0):
            section = self.read(ProviderSection, (*place, index))
            if section is None:
                continue
            if section.name in found:
                self._notes.at_value((*place, index, "name"), f"{quoted(section.name)} is an earlier provider's name")
            if section.timeout is not None and section.timeout_sec is not None:
                self._notes.at_key((*place, index, "timeout_sec"), "stands beside `timeout`; keep one of them")
            timeout = section.timeout or section.timeout_sec or PROVIDER_TIMEOUT
            settings = {"model": section.name, "priority": index + 1, **settings_of(section), "timeout": timeout}
            settings.pop("timeout_sec", None)
            found[section.name] = settings
        return tuple(sorted(found.values(), key=lambda provider: provider["priority"]))

    def _source(self, name: str, plug_ins: tuple[str, ...]) -> Mapping[str, Any] | None:
        place: Place = ("sources", name)
        if name in SOURCES:
            section = self.read(SOURCES[name], place)
            return None if section is None else settings_of(section)
        if name in plug_ins:
            return self._plug_in(place)
        self._notes.at_key(place, f"no source of this name is installed{fields.nearest(name, (*SOURCES, *plug_ins))}")
        return None

    def _plug_in(self, place: Place) -> Mapping[str, Any] | None:
        """A plug-in's settings: free, but for `timeout`, `required`, references and secrets."""
        data = self._document.get(place)
        if data is not None and not isinstance(data, dict):
            self._notes.at_value(place, f"must be a mapping, not {fields.kind_of(data)}")
            return None
        known = len(self._notes.problems)
        given = dict(data or {})
        settings: dict[str, Any] = {"timeout": SOURCE_TIMEOUT, "required": False}
        if "timeout" in given:
            timeout = self._converted((*place, "timeout"), fields.duration, given.pop("timeout"))
            settings["timeout"] = timeout.total_seconds() if timeout else SOURCE_TIMEOUT
        if "required" in given:
            settings["required"] = self._converted((*place, "required"), fields.flag, given.pop("required"))
        settings.update(self._free(given, place))
        return settings if len(self._notes.problems) == known else None

    def _free(self, value: Any, place: Place) -> Any:
        """Any plain data with its references resolved and its secrets replaced by names of variables."""
        if isinstance(value, str):
            return self._converted(place, lambda raw: fields.free_text(raw, self._expansion), value)
        if isinstance(value, list):
            return [self._free(item, (*place, index)) for index, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        self._refuse_pairs(filter(_is_secret, value), value, place)
        found: dict[str, Any] = {}
        for name, item in value.items():
            below = (*place, name)
            if _is_secret(name):
                found[f"{name}_env"] = _name_of(self._converted(below, fields.secret, item))
            elif _is_secret(name.removesuffix("_env")):
                found[name] = _name_of(self._converted(below, fields.variable, item))
            else:
                found[name] = self._free(item, below)
        return found

    def _converted(self, place: Place, convert: Callable[[Any], Any], value: Any) -> Any:
        """The value converted, or None where it is wrong."""
        try:
            return convert(value)
        except Mistake as mistake:
            self._notes.at_value(place, str(mistake))
            return None

    def _filled(self, model: type[BaseModel], data: Any, place: Place) -> Any:
        """The data without its empty settings, which are mistakes; a section may be empty."""
        if not isinstance(data, dict):
            return data
        if issubclass(model, Section):
            self._refuse_pairs(data, data, place)
        kept = {}
        for name, value in data.items():
            if value is None and name in known_keys(model) and not may_be_empty(model, name):
                self._notes.at_key((*place, name), "is empty; give it a value or remove the line")
            else:
                inner = may_be_empty(model, name)
                kept[name] = self._filled(inner, value, (*place, name)) if inner else value
        return kept

    def _refuse_pairs(self, names: Iterable[str], data: Mapping[str, Any], place: Place) -> None:
        for name in names:
            if f"{name}_env" in data:
                self._notes.at_key((*place, f"{name}_env"), f"stands beside `{name}`; keep one of them")

    def _note(self, model: type[Section], place: Place, detail: Any) -> None:
        kind, steps = detail["type"], detail["loc"]
        where: Place = (*place, *steps)
        if kind == "extra_forbidden":
            self._notes.at_key(where, _unknown_key(model, steps), about=where[:-1])
        elif kind == "missing":
            if where not in self._document.keys:
                self._notes.at_key(where, "is missing; write it")
        elif kind == "value_error":
            mistake = str(detail["ctx"]["error"])
            if steps:
                self._notes.at_value(where, mistake)
            else:
                self._notes.at_key(where, mistake)
        else:
            wanted = _STRUCTURE.get(kind, "something else")
            self._notes.at_value(where, f"must be {wanted}, not {fields.kind_of(self._document.get(where))}")


def _unknown_key(model: type[Section], steps: tuple[str | int, ...]) -> str:
    name = str(steps[-1])
    word, *rest = re.split(r"[^\w.-]", name, maxsplit=1)
    if model is TopSection and len(steps) == 1 and name in known_keys(PolicySection):
        guess = "; it belongs to a class or an agent"
    else:
        guess = fields.nearest(word, known_keys(model, steps[:-1]))
    # A forgotten colon makes a key of a setting and its value, and the value may be a secret: only the first word.
    return f"unknown key {quoted(f'{word}…' if rest else word)}{guess}"


def _is_secret(name: str) -> bool:
    """Whether a plug-in's setting holds a secret, going by its name."""
    folded = name.casefold()
    return folded in _SECRETS or folded.endswith(tuple(f"_{word}" for word in _SECRETS))


def _name_of(variable: Any) -> str:
    return variable.name if isinstance(variable, fields.Variable) else ""
