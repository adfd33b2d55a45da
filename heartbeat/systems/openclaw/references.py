"""What a card says of items in other sources (rule M1a). Pure.

Only references: whether an identifier exists, the merge finds out. `COVID-19 plan` names an issue only where there is
an issue COVID-19.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

_IDENTIFIER = r"[A-Za-z][A-Za-z0-9]{0,9}-[0-9]{1,9}"
_LEADING = re.compile(rf"\s*[\[({{【「『〔《<]?\s*({_IDENTIFIER})(?![A-Za-z0-9_-])")
_ANYWHERE = re.compile(rf"(?<![A-Za-z0-9_-])({_IDENTIFIER})(?![A-Za-z0-9_-])")
_UUID = re.compile(r"(?<![0-9A-Za-z-])[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![0-9A-Za-z-])")


def mentions_of(record: Mapping[str, Any], title: str, own_id: str) -> tuple[str, ...]:
    """Identifiers (in capitals) and issue UUIDs (in lower case): leading the title, in labels, in `sourceUrl`."""
    found = (*_leading(title), *_labelled(record.get("labels")), *_linked(record.get("sourceUrl")))
    return tuple(mention for mention in dict.fromkeys(found) if mention != own_id.lower())


def _leading(title: str) -> Iterator[str]:
    found = _LEADING.match(unicodedata.normalize("NFKC", title[:200]))
    if found:
        yield found.group(1).upper()


def _labelled(labels: object) -> Iterator[str]:
    for label in labels if isinstance(labels, list) else ():
        if isinstance(label, str):
            yield from (found.group(1).upper() for found in _ANYWHERE.finditer(label))


def _linked(url: object) -> Iterator[str]:
    if not isinstance(url, str):
        return
    try:
        path = unquote(urlsplit(url.strip()).path)
    except ValueError:
        return
    found = re.fullmatch(_IDENTIFIER, path.rstrip("/").rpartition("/")[2])
    if found:
        yield found.group().upper()
    yield from (uuid.group().lower() for uuid in _UUID.finditer(path))
