"""From videos to a library of features.

extract           the steps of `ndvr extract`
plan              what is to be done: a manifest against a library
video_ids         which ids videos have, and what else a known id stands for
gone              what a folder gave before and no longer has
graph             decode, embed and write as a graph on Ray Data
pools             how many workers each stage has, of what size, on which nodes
import_features   features that others extracted: `ndvr import`
"""
