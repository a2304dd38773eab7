"""Looking into a library and after it: show, check, clear up, remove, explain, learn a PCA."""
