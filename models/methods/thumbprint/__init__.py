"""Thumbprint, which needs no training: codes of frames, placing one on another, and how sure a match is.

method   CARD and METHOD
"""
