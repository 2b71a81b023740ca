"""Consumes events and acts on WeCom."""
