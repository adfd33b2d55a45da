"""What agents and operators do to a task: the words, when they are refused, and the rooms where it happens."""
