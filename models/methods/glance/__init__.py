"""Glance: vectors of frames by a small network that was trained on ImageNet.

method   CARD and METHOD
"""
