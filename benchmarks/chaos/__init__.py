"""Kill extraction at random, over and over, and compare what is left with an undisturbed run.

chaos           the command
round           one library: kill, run again, compare
processes       find and kill the processes of a run
keeper          end what a run leaves when its driver is killed
library_check   compare and count without the library's reader
setting         the videos, and a cluster on one machine
"""
