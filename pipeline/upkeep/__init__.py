"""Looking into a library and after it.

show         what a library holds, its failures, its runs
maintenance  check a library, clear it up, take videos out, tell the history of one
fit_pca      learn TCA's PCA from raw frame vectors
"""
