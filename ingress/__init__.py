"""Receives WeCom callbacks, verifies and decrypts them, and answers once they are durable."""
