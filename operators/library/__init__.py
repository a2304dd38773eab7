"""The features of a collection and the ledger of its videos: written, read, checked, cleared up."""
