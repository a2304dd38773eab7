"""Datasets, evaluation, and everything that measures ndvr itself."""
