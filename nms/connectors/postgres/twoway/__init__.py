"""The database side of a pipeline that goes both ways: rows, their last synced state, and what changed since."""
