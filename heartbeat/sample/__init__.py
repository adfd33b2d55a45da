"""Sample data that ships with the package: the sample roster, and the small team of `heartbeat demo`."""
