"""Plain Python on tables, without Ray: every step from a file to features, scores and counts."""
