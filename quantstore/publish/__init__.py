"""Projections of the cold tier that other engines read."""
