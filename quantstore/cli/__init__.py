"""The quantstore command."""
