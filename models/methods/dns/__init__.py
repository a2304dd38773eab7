"""DnS: the method, its students and selector, binary codes, and its search from coarse to fine.

method   CARD and METHOD
search   coarse scores of all videos, fine ones where the selector doubts
"""
