"""Whether the beats come: computed health, a watchdog that shares nothing with them, pings to a dead-man's switch."""
