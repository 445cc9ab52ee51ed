"""Who competes: one file each."""
