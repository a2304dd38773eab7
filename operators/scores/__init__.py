"""Scores of pairs of videos: the cells of the grid, the files they lie in, and the best of each query."""
