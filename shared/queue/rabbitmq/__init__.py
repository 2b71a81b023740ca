"""The queue over RabbitMQ."""
