"""quantstore: one table over memory, a time-series database and object storage."""
