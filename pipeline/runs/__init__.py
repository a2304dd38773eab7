"""What a run does and did: its record, its totals, which stage bounded it, its metrics."""
