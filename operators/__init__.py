"""Plain Python on tables and files: what has to be done to videos, features and scores; who runs it where is pipeline.

errors  why a video has no features
rows    the row that travels from decoding to the ledger
"""
