"""The shape of a list of cards, the same over every transport: `{"cards": […], "boards": […]}` (contract 1.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from heartbeat.systems.base import FailureKind, Fetched, TransportError
from heartbeat.systems.json_text import safe_excerpt
from heartbeat.task import Finding

LIST_METHOD = "workboard.cards.list"
PLUGIN_ADVICE = "enable the plugin: openclaw plugins enable workboard"


def list_parameters(board: str | None) -> dict[str, Any]:
    return {} if board is None else {"boardId": board}


def read_cards(ask: Callable[[], Any], board: str | None, what: str) -> Fetched:
    """Asks for the list, and once more where fewer cards came than the boards claim to have (rule S3).

    Raises TransportError where no list came; what came once is not given up because the second question failed.
    """
    fetched = as_fetched(ask(), board, what)
    if not fetched.problem:
        return fetched
    try:
        return as_fetched(ask(), board, what)
    except TransportError as error:
        return replace(fetched, problem=f"{fetched.problem}; asking again failed: {error}")


def as_fetched(document: Any, board: str | None, what: str) -> Fetched:
    """The records of a list; raises TransportError BAD_OUTPUT where it is none."""
    cards = document.get("cards") if isinstance(document, dict) else None
    if not isinstance(cards, list):
        raise TransportError(
            FailureKind.BAD_OUTPUT, f"{what} gave no list of cards: {safe_excerpt(repr(document)[:500])}"
        )
    told = _told(document, board)
    came = _different(cards)
    problem = (
        f"{what} gave {came} cards of the {told} that its boards count" if told is not None and came < told else ""
    )
    return Fetched(cards, problem, _unknown_board(document, board, what))


def saved_cards(board: str | None) -> Callable[[Any], Fetched]:
    """For a saved document: the list as OpenClaw prints it, or its bare cards; of one board only where one is named.

    What the boards count is not compared: the list of a single board counts the others as well.
    """

    def extract(document: Any) -> Fetched:
        cards = document if isinstance(document, list) else as_fetched(document, board, "the saved file").records
        if board is None:
            return Fetched(cards)
        return Fetched([card for card in cards if board_of(card) in (None, board.lower())])

    return extract


def board_of(card: Any) -> str | None:
    """A card's board, `default` where it names none (contract 1.1); None where that cannot be read."""
    metadata = card.get("metadata") if isinstance(card, dict) else None
    if metadata is None:
        return "default" if isinstance(card, dict) else None
    automation = metadata.get("automation", {}) if isinstance(metadata, dict) else None
    board = automation.get("boardId", "default") if isinstance(automation, dict) else None
    return board.lower() if isinstance(board, str) else None


def _different(cards: Sequence[Any]) -> int:
    """How many cards came, one that came twice counted once: it must not stand in for one that did not come."""
    names = [card.get("id") if isinstance(card, dict) else None for card in cards]
    told = [str(name).strip() for name in names if isinstance(name, str | int)]
    return len(set(told)) + len(names) - len(told)


def _unknown_board(document: Mapping[str, Any], board: str | None, what: str) -> tuple[Finding, ...]:
    """A board that does not exist gives an empty list and no error (contract 1.3), as a misspelt one does."""
    boards = document.get("boards")
    if board is None or not isinstance(boards, list) or document["cards"]:
        return ()
    known = [str(entry["id"]) for entry in boards if isinstance(entry, dict) and entry.get("id")]
    if board.lower() in known:
        return ()
    shown = safe_excerpt(", ".join(known), 200) or "none"
    return (Finding("unknown-board", f"{what} has no board {board!r}, so no card was read; its boards: {shown}"),)


def _told(document: Mapping[str, Any], board: str | None) -> int | None:
    """How many cards the boards claim to have, archived ones included; None where that is not said."""
    boards = document.get("boards")
    if not isinstance(boards, list):
        return None
    totals = [
        entry["total"]
        for entry in boards
        if isinstance(entry, dict)
        and isinstance(entry.get("total"), int)
        and (board is None or entry.get("id") == board.lower())
    ]
    return sum(totals) if totals else None
