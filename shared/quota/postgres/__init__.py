"""The quota in PostgreSQL, for workers on many machines."""
