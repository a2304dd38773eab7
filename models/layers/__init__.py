"""Building blocks that several methods share: regions, comparators, Chamfer similarity, log-mel spectrograms."""
