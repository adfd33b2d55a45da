"""agents.yaml: find it, read it, check it, and say where each mistake stands."""
