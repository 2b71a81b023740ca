"""Pure code: ids, events, decisions, errors. No I/O, no clock, no randomness."""
