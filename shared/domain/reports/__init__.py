"""Figures about customers: counting relations, the report, and its charts."""
