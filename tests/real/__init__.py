"""A real OpenClaw, installed from npm and run on loopback: what the fakes are checked against."""
