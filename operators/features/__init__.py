"""From windows to features, or from feature files of others: embedding, reading, principal components."""
