"""What a check looks at, one subject per module."""
