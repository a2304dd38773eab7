"""Soundprint, which needs no training: levels of sound as bytes, laying them over each other, and how sure a match is.

method   CARD and METHOD
"""
