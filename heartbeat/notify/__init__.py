"""One door for "tell somebody": roles become recipients, recipients hear through channels or their inbox (rule O3)."""
