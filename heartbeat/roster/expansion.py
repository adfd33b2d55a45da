"""References to the environment in settings, and paths made absolute.

`${NAME}` is the variable's value, `${NAME:-text}` falls back to a text where the variable is unset or empty, and `$${`
stands for the two characters themselves. Secrets are never expanded here: they are resolved late, by their users.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from heartbeat.roster.document import Mistake

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^${}]*))?\})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Expansion:
    """What settings are expanded with: the environment, and the directory that relative paths start from."""

    environment: Mapping[str, str]
    directory: Path

    def text(self, raw: str) -> str:
        """The text with its references resolved. Raises Mistake, which names the variable and never its value."""
        return _REFERENCE.sub(self._resolve, raw)

    def path(self, raw: str) -> Path:
        """An absolute path: references and a leading `~` resolved. Raises Mistake."""
        text = self.text(raw)
        if not text or "\0" in text:
            raise Mistake("this is no path once its references are resolved")
        return self.directory / expand_home(text, self.environment)

    def _resolve(self, match: re.Match[str]) -> str:
        if match.group() == "$${":
            return "${"
        name, fallback = match.groups()
        if name is None:
            raise Mistake("`${` begins a reference: write ${NAME} or ${NAME:-text}, or $${ for the characters")
        value = self.environment.get(name, "")
        if value:
            return value
        if fallback is None:
            raise Mistake(
                f"the environment variable {name} is not set; set it where heartbeat runs, or write ${{{name}:-text}}"
            )
        return fallback


def expand_home(text: str, environment: Mapping[str, str]) -> Path:
    """A path with its leading `~` replaced by the home directory. Raises Mistake for `~somebody`."""
    if not text.startswith("~"):
        return Path(text)
    if text != "~" and not text.startswith("~/"):
        raise Mistake("`~` is understood for your own home only; write the path of the other one in full")
    home = environment.get("HOME") or ""
    if not Path(home).is_absolute():
        try:
            home = str(Path.home())
        except RuntimeError as error:
            raise Mistake("`~` cannot be resolved: HOME is not set; write the path in full") from error
    return Path(home) / text[2:]
