"""Write: normalise, split by partition, copy durably, commit."""
