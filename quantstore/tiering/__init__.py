"""Planner and mover: which segments go where, and bring them there."""
