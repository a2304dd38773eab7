"""AuSiL, by sound: the method, its networks, and its weights as the authors distribute them.

method   CARD and METHOD
"""
