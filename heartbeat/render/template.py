"""One template file to text, in Jinja's sandbox and in a process with limits (rules R2, B7).

A template is one file: it includes, imports and extends nothing. It is given what `values.KNOWN` lists; an unknown
name is an error, and the same values always give the same text (no randomness, no time).
"""

from __future__ import annotations

import difflib
import hashlib
import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.environment import Template as CompiledTemplate
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from heartbeat import __version__
from heartbeat.errors import UsageError
from heartbeat.render.confined import LimitError, Limits, run_confined
from heartbeat.render.values import KNOWN, Values

FILE_NAME = "HEARTBEAT.md.j2"

MAXIMUM_SOURCE = 1024 * 1024
MAXIMUM_OUTPUT = 1024 * 1024
"""Bytes of UTF-8 of one template file and of one rendered text."""


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """A template as it was read. `digest` is the first 12 hex digits of the SHA-256 of its text."""

    path: Path
    source: str
    digest: str


def default_template(name: str = FILE_NAME) -> Path:
    """A template that comes with heartbeat: in an installed package its own, in a checkout the repository's."""
    packaged = Path(str(files("heartbeat").joinpath("templates", name)))
    if packaged.is_file():
        return packaged
    repository = Path(__file__).resolve().parents[2] / "templates" / name
    if repository.is_file():
        return repository
    raise UsageError(
        f"the default template is neither at {packaged} nor at {repository}",
        advice="install heartbeat-agents again, or name a template with --template",
    )


def read_template(path: Path) -> TemplateFile:
    """The template at `path`; raises UsageError where it cannot be read, is not UTF-8, or is larger than 1 MiB."""
    try:
        if not path.is_file():
            raise UsageError(
                f"{path}: {'not a regular file' if path.exists() else 'no such template'}",
                advice="check `template:` in the roster, or --template",
            )
        with path.open("rb") as file:
            raw = file.read(MAXIMUM_SOURCE + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", advice="make the template readable for this user") from error
    if len(raw) > MAXIMUM_SOURCE:
        raise UsageError(f"{path}: larger than {MAXIMUM_SOURCE} bytes; a heartbeat file has at most a few thousand")
    try:
        source = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8", advice="save the template as UTF-8") from error
    source = source.replace("\r\n", "\n")
    return TemplateFile(path, source, hashlib.sha256(source.encode()).hexdigest()[:12])


def render_texts(template: TemplateFile, values: Sequence[Values], *, limits: Limits | None = None) -> tuple[str, ...]:
    """The template filled in once for each of `values`, in a child process of its own.

    Every text ends with exactly one newline and has no blank lines at its ends. Raises UsageError `path:line: what`
    for a template that is wrong, endless, too large, or that says nothing to act on.
    """
    allowed = limits or Limits()
    # JSON spells a byte of text in up to six; each text was checked for its size already.
    batch = replace(allowed, answer=max(allowed.answer, 8 * MAXIMUM_OUTPUT * max(1, len(values))))
    try:
        outcome = run_confined(lambda: _fill_all(template, values), batch)
    except LimitError as error:
        raise UsageError(
            f"{template.path}: the template {error}", advice="look for a loop or a macro that does not end"
        ) from error
    if "problem" in outcome:
        raise UsageError(outcome["problem"], advice=outcome["advice"])
    return tuple(outcome["texts"])


def _fill_all(template: TemplateFile, values: Sequence[Values]) -> dict[str, Any]:
    try:
        return {"texts": [fill(template, each) for each in values]}
    except UsageError as error:
        return {"problem": str(error), "advice": error.advice}


def fill(template: TemplateFile, values: Values) -> str:
    """The template filled in here and now, without limits of time and memory: for templates that are trusted."""
    where = template.path
    everything = {
        **values,
        "template": {"name": where.name, "digest": template.digest},
        "heartbeat_version": __version__,
    }
    try:
        text = _join(_compile(template), everything, where)
    except TemplateSyntaxError as error:
        raise UsageError(f"{where}:{error.lineno}: {error.message}", advice=_SYNTAX) from error
    except (UndefinedError, SecurityError) as error:
        raise UsageError(f"{where}:{_line_of(error, where)}: {error}", advice=_advice_for(error)) from error
    except RecursionError as error:
        raise UsageError(f"{where}: a macro calls itself without end") from error
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # a template can raise anything that Python can: 1 // 0, int("x"), a filter's TypeError
        line = _line_of(error, where)
        raise UsageError(f"{where}:{line}: {type(error).__name__}: {error}") from error
    trimmed = _BLANK_START.sub("", text).rstrip() + "\n"
    if not says_something(trimmed):
        raise UsageError(
            f"{where}: what it renders has nothing to act on, only headings, comments and blank lines; "
            "an agent skips such a file",
            advice="write at least one instruction into the template, or use the default one",
        )
    return trimmed


_SYNTAX = "see https://jinja.palletsprojects.com/en/stable/templates/ for what a template may hold"

_BLANK_START = re.compile(r"\A(?:[ \t]*\n)+")


def _advice_for(error: Exception) -> str:
    if isinstance(error, SecurityError):
        return "templates run in a sandbox: use the given values, not Python's insides"
    return f"the values are: {', '.join(KNOWN)}"


def _join(compiled: CompiledTemplate, values: Mapping[str, Any], where: Path) -> str:
    pieces: list[str] = []
    size = 0
    for piece in compiled.generate(values):
        pieces.append(piece)
        size += len(piece.encode("utf-8", "replace"))
        if size > MAXIMUM_OUTPUT:
            raise UsageError(
                f"{where}: renders more than {MAXIMUM_OUTPUT} bytes", advice="a heartbeat file has a few thousand"
            )
    return "".join(pieces).replace("\r\n", "\n").encode("utf-8", "replace").decode("utf-8")


class _Unknown(StrictUndefined):
    """A name that is not there, with the names that are."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        name = str(self._undefined_name)
        known: Sequence[str] = ()
        if self._undefined_obj is missing:
            known = tuple(KNOWN)
        elif isinstance(self._undefined_obj, Mapping):
            known = tuple(str(key) for key in self._undefined_obj)
        close = difflib.get_close_matches(name, known, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}" if known else ""
        return f"{name!r} is undefined{guess}"


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=_Unknown,
        autoescape=False,  # Markdown, and the values are neutralised already (rule B8)
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=None,
        cache_size=0,
    )
    # The same roster must give the same bytes, or `--check` would cry wolf.
    del environment.globals["lipsum"]
    del environment.filters["random"]
    return environment


@lru_cache(maxsize=8)
def _compile(template: TemplateFile) -> CompiledTemplate:
    """Once for each source: to compile one takes far longer than to fill it in."""
    environment = _environment()
    tree = environment.parse(template.source, filename=str(template.path))
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        word = "import" if isinstance(node, nodes.Import | nodes.FromImport) else type(node).__name__.lower()
        raise UsageError(
            f"{template.path}:{node.lineno}: {word} is not allowed: a template is one file",
            advice="write the text into the template itself",
        )
    code = environment.compile(template.source, filename=str(template.path))
    return CompiledTemplate.from_code(environment, code, environment.make_globals(None))


def _line_of(error: Exception, where: Path) -> int | str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(where)]
    return next((line for line in reversed(lines) if line is not None), "?")


_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)

_UNDERLINED = re.compile(r"^(?![-+*>]|\d+[.)]).+\n {0,3}(?:=+|-+)[ \t]*$", re.MULTILINE)

_SAYS_NOTHING = re.compile(
    r"#{1,6}(?:\s.*)?|=+|[-*_](?:\s*[-*_]){2,}|(?:[-*+]|\d+[.)])?\s*(?:\[[ xX]?\])?|[`~]{3,}.*|[|:\-\s]+"
)
"""A stripped line without an instruction: nothing, heading, rule, empty list item or box, fence, table ruling."""


def says_something(text: str) -> bool:
    """Whether a text has a line that an agent could act on (rule B7)."""
    bare = _UNDERLINED.sub("", _COMMENT.sub("", text))
    return any(not _SAYS_NOTHING.fullmatch(line.strip()) for line in bare.split("\n"))
