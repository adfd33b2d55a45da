"""When an agent's beats are due."""
