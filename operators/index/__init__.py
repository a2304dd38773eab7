"""What an index of a library is, and what is read out of it; plain files and arrays.

codes       two bits a number of a key
lists       keys that look alike, together
scan        products of probes with the keys of a segment
segments    immutable files of keys, and the snapshot that says which count
votes       videos that the probes of a query find
common      whole pictures that several videos show
lines       stretches of two videos that show the same, in their window-to-window matrix
kinds       what two videos have to do with each other
sureness    false matches to expect per million pairs
"""
