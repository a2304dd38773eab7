"""From windows to features, or from the features of others to rows.

embed          run the models over pieces
feature_files  which videos a file of features holds
feature_rows   turn them into rows
pca            principal components of more vectors than memory holds
"""
