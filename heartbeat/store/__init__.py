"""What heartbeat remembers between beats: a port, two implementations of it, and the kernel locks beside them.

`opening` finds and mends the database; importing it or `sqlite` loads SQLite, everything else here is cheap.
"""
