"""From nothing to a roster: who is there, who is who, and agents.yaml as text."""
