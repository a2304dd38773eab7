"""From libraries to scores: all pairs, proposed pairs, the pairs of one collection, two files.

similarity  score all pairs of two libraries
rerank      score all pairs with a fast method, the pairs that matter with a slower one
selection   which pairs matter
dedupe      find the pairs of one library that are alike
pair        compare two video files
inputs      libraries, method and score folder, checked before any work
"""
