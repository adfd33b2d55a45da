"""Multica: its issues over the REST API, its own command, or a saved file."""
