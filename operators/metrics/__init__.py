"""How right a ranking is, from counts; no ranking is sorted.

average_precision  of a query, of all queries together, of pairs
survey             first walk over scores: who was scored
rank_counts        second walk: how many stand before each right one
rows_by_query      rows of scores, query by query
segments           precision and recall of copied stretches
agreement          of a shortlist with comparing everything
"""
