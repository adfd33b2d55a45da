"""The outside systems, one package each. They read and (later) write; they decide nothing."""
