"""One HEARTBEAT.md for every agent of the roster: plan what would be written, show it, write it.

`plan_render` computes a `RenderResult` per agent and touches nothing; `write` carries one out. The text of a file is
`render_agent`. What a template may use is `KNOWN`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heartbeat.render.confined import Limits
    from heartbeat.render.files import (
        DIFFERS,
        RenderResult,
        RenderState,
        Written,
        plan_render,
        render_agent,
        render_blocks,
        write,
    )
    from heartbeat.render.template import default_template
    from heartbeat.render.values import KNOWN, command_line

__all__ = [
    "DIFFERS",
    "KNOWN",
    "Limits",
    "RenderResult",
    "RenderState",
    "Written",
    "command_line",
    "default_template",
    "plan_render",
    "render_agent",
    "render_blocks",
    "write",
]

_MODULE_OF = {
    **dict.fromkeys(("KNOWN", "command_line"), "values"),
    **dict.fromkeys(("DIFFERS", "RenderResult", "RenderState", "Written"), "files"),
    **dict.fromkeys(("plan_render", "render_agent", "render_blocks", "write"), "files"),
    "Limits": "confined",
    "default_template": "template",
}


def __getattr__(name: str) -> Any:
    """What stands in `__all__`, from its module: a beat needs `values` alone, and templates take long to import."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
