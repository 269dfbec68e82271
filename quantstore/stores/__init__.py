"""Technologies that keep copies of segments."""
