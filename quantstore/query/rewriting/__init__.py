"""Queries as the engine must see them: hidden columns out of stars, stamps with nanoseconds treated exactly."""
