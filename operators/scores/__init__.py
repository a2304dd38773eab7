"""Pairs of videos, scored: the cells of the grid, and the files they make.

groups      the sides of the grid
signatures  signatures of groups, kept within memory
cells       score one cell and write it
files       read scores, whoever wrote them
pair_list   the pairs of all cells together
shortlist   the highest scores of every query
"""
