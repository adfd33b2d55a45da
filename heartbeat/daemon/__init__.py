"""All beats of a roster in one process that stays."""
