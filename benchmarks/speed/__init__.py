"""Measurements of speed and memory: one file is one command, see benchmarks/README.md.

extraction         extract against its slowest stage alone
similarity         comparison against the bare product
search             a search and its parts against flat faiss and the bare products
evaluate           evaluation at FIVR-200K's size
method             networks and comparisons alone
back_pressure      what lies between the stages
long_video         memory of long videos
one_pass           one decoding for several methods
decoder_choice     which decoder reads which file
incremental        finding out what is new
plan_accuracy      how right `ndvr plan` is
fivr_200k          from features to mAP at FIVR-200K's size
fivr_200k_stages   its stages, each in a process of its own
fivr_200k_data     its ids, labels and planted features
process_cost       time and memory of a process and its children
"""
