"""heartbeat keeps a team of AI agents on OpenClaw working."""

__version__ = "0.1.0"
