"""Published training losses, and the batches they are computed on.

losses           by method
batches          padded batches of videos through the similarity network
tca_alignments   the other ways to compare that TCA's code has
"""
