"""Beats put on a schedule, shown, compared and taken off again."""
