"""From libraries to scores: all pairs, proposed pairs, the pairs of one collection, two files."""
