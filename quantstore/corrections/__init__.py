"""Corrections: rows that are replaced, updated or deleted, by copy-on-write of the segments they are in."""
