"""Outbound HTTP: guarded against leading inwards, and bounded in size and time."""
