"""Answers kept for the next time they are asked for: in memory, and on disk for every process of the machine."""
