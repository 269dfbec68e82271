"""The only authority on which segments and copies exist."""
