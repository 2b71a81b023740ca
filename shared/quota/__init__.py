"""The corp's shared API quota: one port and its adapters."""
