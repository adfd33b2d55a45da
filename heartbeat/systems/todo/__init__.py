"""The third source of work: task lists in the Markdown files of the agents' workspaces (rule S9)."""
