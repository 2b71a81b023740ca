"""Channels as code: the file, the contact ways it wants, the lock, and the plan between them."""
