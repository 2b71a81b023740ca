"""The state in PostgreSQL, for workers on many machines."""
