"""Kill extraction at random, over and over, and compare what is left with an undisturbed run.

chaos           the command
offline         import, gc, folding, similarity, dedupe and fit-pca, struck in forks of one process
indexing        ndvr index killed, compared bit for bit
flip            one byte of any file damaged
round           one library: kill, run again, compare
processes       find and kill the processes of a run
keeper          start a command and adopt every process it leaves behind
library_check   compare and count without the library's reader
setting         the videos, and a cluster on one machine
"""
