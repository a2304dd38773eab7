"""From scores to numbers: a protocol, the counts it needs, the numbers of a task, their intervals.

protocol      a benchmark as data; find and load datasets
truth         a truth table as a protocol
question      from the settings of `ndvr evaluate` to a protocol
annotations   read official files, pickles without running them
counting      walk over the scores and put the numbers together
result        the numbers of one run, and their text
comparison    several runs side by side, and their text
"""
