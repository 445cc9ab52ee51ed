"""What may vanish: hot values, counters, rate budgets and messages to whoever listens now."""
