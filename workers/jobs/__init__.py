"""What a person or the clock starts, rather than an event."""
