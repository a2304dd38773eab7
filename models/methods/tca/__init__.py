"""TCA: the method, its encoders, how encoded videos are compared, and the frame vectors it starts from.

method   CARD and METHOD
"""
