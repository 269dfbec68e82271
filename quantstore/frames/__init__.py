"""Accessors for pandas and Polars frames."""
