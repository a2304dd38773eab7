"""What is kept of every video: features in shards, and receipts that say what became of each.

library         open one, look videos up, read their features
config          what made the features of that name
shards          write and read a shard
receipt_files   which files make up the ledger
feature_reader  features of one video at a time
decisions       what people said of pairs of videos
lease           one writer at a time
runs            open and close runs, clear up after killed ones
cleanup         remove what nothing needs
audit           check a library against itself
"""
