"""Read: parse, prune, plan, execute, convert."""
