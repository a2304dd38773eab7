"""Looking into a library and after it, and at the machine.

show         what a library holds, its failures, its runs
maintenance  check a library, clear it up, take videos out, tell the history of one
doctor       what this machine has of what is needed
fit_pca      learn TCA's PCA, or one for backbone=lite0, from raw features
"""
