"""The rules: pure functions from tasks, memory, policy and now to verdicts with reasons."""
