"""`qudao channels`: contact ways as code."""
