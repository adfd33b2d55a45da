"""Starting agents on ready work: one turn at a time, on record before it happens, collected once (rules X, F)."""
