"""The commands, and the one place where the services are put together."""
