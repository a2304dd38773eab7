"""Look, decide, remember: pages of matches and pairs, the local server that plays them, and decisions that last.

pairs          two videos that were found alike, whoever found them
found          all pairs of MATCHES, PAIRS or SCORES, read again
evidence       the closer look at a pair: segments and the map of its windows
keep           which video of a group to keep
decide         decisions from the command line
found_page     the page of `ndvr report`, with figures for papers
learning_page  that of a training
server         `ndvr review`, with state (what it knows), guard (who gets in) and media (files and pictures)
page           templates, which the pages of ndvr.benchmarks.report share
"""
