"""Have we seen this video before, where in it, how sure: an index kept beside a library, and searches in it.

search         search(), index(), Index: the way in
library_index  a library with its index, and what that holds
build          bring the index up to the library
queries        what is searched for, with its features
matcher        queries against the index: candidates, and the answer
verify         the closer look at candidates
on_ray         parts of the index, and closer looks, on a cluster
answers        what is said, as text, JSON and tables
out_folder     answers that are kept
both           a search by pictures and by sound
verdict        what the two say together
explain        every gate of a pair
common         what many videos of a library show
duplicates     pairs and groups within a library, through its index
"""
