"""The event queue: one port, adapters for SQLite, RabbitMQ and memory."""
