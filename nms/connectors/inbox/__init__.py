"""The inbox of this installation as a source: what its endpoints received, in the order in which it came."""
