"""How events travel between rooms: over RabbitMQ, or over the outbox itself."""
