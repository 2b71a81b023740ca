"""A WeCom to test against: callbacks, APIs, limits and faults."""
