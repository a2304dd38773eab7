"""Look, decide, remember: pages of matches and pairs, the local server that plays them, and decisions that last.

decide.py (decisions from the command line), matches_page.py (`ndvr report`), and what `ndvr review` is made of.
"""
