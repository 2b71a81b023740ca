"""AMQP underneath queue and quota: connections that come back, publishes that are confirmed."""
