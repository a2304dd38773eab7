"""How fast a search is, how much it finds, and its parts, beside what bounds them: one module a measurement.

votes      candidates of a query from an index, as it grows
recall     edits whose original is among the candidates, of those that comparing all would find
index_cost building an index, adding to it, opening it
pairs      the closer look at candidates
sureness   the rate of false matches that is stated
dedupe     a library searched for in itself
two_stage  mAP by the index beside comparing all
made       videos and indexes that these measure on
"""
