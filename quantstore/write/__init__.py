"""Placeholder until names are settled."""
