"""A team on a virtual clock: the real beats over scripted systems, agents and people."""
