"""One HEARTBEAT.md for every agent of the roster: plan what would be written, show it, write it.

`plan_render` computes a `RenderResult` per agent and touches nothing; `write` carries one out. The text of a file is
`render_agent`. What a template may use is `KNOWN`.
"""

from __future__ import annotations

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
