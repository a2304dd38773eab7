"""What an index of a library is, and what is read out of it; plain files and arrays.

segments    immutable files of keys, and the snapshot that says which count
votes       videos that the probes of a query find
lines       stretches of two videos that show the same, in their window-to-window matrix
kinds       what two videos have to do with each other
sureness    false matches to expect per million pairs
"""
