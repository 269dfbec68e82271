"""Facts about rows in Arrow: the form of a table, event time as integers, fingerprints of content."""
