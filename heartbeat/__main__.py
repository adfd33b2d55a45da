"""`python -m heartbeat` is the same as the `heartbeat` command."""

from heartbeat.cli.main import main

if __name__ == "__main__":
    main()
