"""Jobs that keep a healthy store healthy."""
